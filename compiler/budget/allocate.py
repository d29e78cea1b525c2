"""Choose one setting for each part of a model, so that the whole stays within a cost bound and loses least."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

MULTIPLIERS = 40
"""Bisection steps for the price of cost: enough for twelve orders of magnitude."""
SWEEPS = 8
"""Maximum number of rounds over all parts for one price; they settle in two or three."""
PAIRED = 1 << 14
"""Maximum number of exchanges between two parts per round; beyond, only those with the cheapest partners are tried."""
MOST_SETTINGS = 1 << 10
"""Maximum number of settings of all parts for bisecting prices; beyond, one greedy descent replaces it."""
STARTS = 4
"""Points on the hull from which exchanges are tried."""

Cost = Callable[[np.ndarray], float]


@dataclass(frozen=True, eq=False)
class Problem:
    """`losses[i][c]` is the loss of choice c of part i, `cost(choices)` the cost of all choices [parts] together.

    Later choices of a part are stronger: they cost less, whatever the others are. The cost need not be a sum over
    parts: the multiply-accumulates of a layer are a product of two widths.
    """

    losses: Sequence[np.ndarray]
    cost: Cost
    bound: float

    def loss(self, choices: np.ndarray) -> float:
        """The loss of these choices, assumed to add up."""
        return float(sum(loss[c] for loss, c in zip(self.losses, choices)))


def allocate(problem: Problem) -> np.ndarray | None:
    """The choices [parts] of least loss with cost ≤ bound; None if even the strongest cost more.

    For a price λ of cost, parts take turns in choosing argmin loss + λ·cost given the others, which finds the
    points on the convex hull of (cost, loss); λ is bisected for the bound (Everett, "Generalized Lagrange
    Multiplier Method", 1963; Shoham and Gersho, "Efficient Bit Allocation", 1988). Exchanges then use the cost left
    between points of the hull: one part becomes weaker, and if necessary another one stronger. For very many
    choices a greedy descent replaces all that.
    """
    strongest = np.array([len(loss) - 1 for loss in problem.losses], np.int64)
    if problem.cost(np.zeros_like(strongest)) <= problem.bound:
        return np.zeros_like(strongest)
    if problem.cost(strongest) > problem.bound:
        return None
    if sum(map(len, problem.losses)) > MOST_SETTINGS:
        return _relaxed(problem, descended(problem))
    starts = [strongest, *_on_the_hull(problem, strongest)]
    feasible = {tuple(c): c for c in starts if problem.cost(c) <= problem.bound}
    nearest = sorted(feasible.values(), key=problem.loss)[:STARTS]
    return _relaxed(problem, min((_exchanged(problem, choices) for choices in nearest), key=problem.loss))


def descended(problem: Problem) -> np.ndarray:
    """Starting from the weakest choices, strengthen by one step the part that loses least for what it saves.

    A plain descent: enough for guessed losses, and for very many choices. It ends at the strongest choices if even
    these exceed the bound. Savings beyond what is still missing count for nothing. The saving of a step mostly
    falls while other parts become stronger, so an outdated entry at the top of the heap is evaluated again (lazy
    greedy; Minoux, 1978).
    """
    choices = np.zeros(len(problem.losses), np.int64)
    present = problem.cost(choices)

    def price(part: int) -> float:
        stronger = choices.copy()
        stronger[part] += 1
        saved = min(present - problem.cost(stronger), present - problem.bound)
        loss = problem.losses[part]
        return float(loss[stronger[part]] - loss[choices[part]]) / saved if saved > 0 else np.inf

    heap = [(price(part), part) for part, loss in enumerate(problem.losses) if len(loss) > 1]
    heapq.heapify(heap)
    while heap and present > problem.bound:
        stale, part = heapq.heappop(heap)
        now = price(part)
        if now > stale and heap and now > heap[0][0]:
            heapq.heappush(heap, (now, part))
            continue
        choices[part] += 1
        present = problem.cost(choices)
        if choices[part] + 1 < len(problem.losses[part]):
            heapq.heappush(heap, (price(part), part))
    return choices


def _relaxed(problem: Problem, choices: np.ndarray) -> np.ndarray:
    """Weaker choices of no greater loss, part by part in turns, while the bound allows."""
    is_open = np.ones(len(choices), bool)
    while is_open.any():
        for part in map(int, np.flatnonzero(is_open)):
            weaker = choices.copy()
            weaker[part] -= 1
            losses = problem.losses[part]
            is_open[part] = (
                choices[part] > 0
                and losses[weaker[part]] <= losses[choices[part]]
                and problem.cost(weaker) <= problem.bound
            )
            choices = weaker if is_open[part] else choices
    return choices


def _on_the_hull(problem: Problem, strongest: np.ndarray) -> Iterator[np.ndarray]:
    """What is chosen at each price, bisected for the bound."""
    spread = max((float(loss.max() - loss.min()) for loss in problem.losses), default=0.0)
    saved = problem.cost(np.zeros_like(strongest)) - problem.cost(strongest)
    unit = max(spread, np.finfo(np.float64).tiny) / max(saved, np.finfo(np.float64).tiny)
    low, high = np.log(unit * 1e-6), np.log(unit * 1e6)
    for _ in range(MULTIPLIERS):
        middle = (low + high) / 2
        choices = _at(problem, float(np.exp(middle)), np.zeros_like(strongest))
        yield choices
        low, high = (low, middle) if problem.cost(choices) <= problem.bound else (middle, high)


def _at(problem: Problem, price: float, choices: np.ndarray) -> np.ndarray:
    """Choices in which no part gains at this price by changing its own choice."""
    for _ in range(SWEEPS):
        before = choices.copy()
        for part, loss in enumerate(problem.losses):
            trials = np.repeat(choices[None], len(loss), 0)
            trials[:, part] = np.arange(len(loss))
            choices = trials[int(np.argmin(loss + price * np.array([problem.cost(trial) for trial in trials])))]
        if (before == choices).all():
            break
    return choices


def _exchanged(problem: Problem, choices: np.ndarray) -> np.ndarray:
    """Choices that no exchange improves."""
    while True:
        better = next(_improvements(problem, choices), None)
        if better is None:
            return choices
        choices = better


def _improvements(problem: Problem, choices: np.ndarray) -> Iterator[np.ndarray]:
    """Affordable choices of less loss that differ in one or two parts, those of the largest gain first."""
    gains = [(loss[c] - loss[new], part, new) for part, (loss, c) in enumerate(zip(problem.losses, choices))
             for new in range(len(loss)) if loss[new] < loss[c]]  # fmt: skip
    pains = [(loss[new] - loss[c], part, new) for part, (loss, c) in enumerate(zip(problem.losses, choices))
             for new in range(c + 1, len(loss))]  # fmt: skip
    pains.sort()
    partners = max(1, PAIRED // max(1, len(gains)))
    for gain, part, new in sorted(gains, reverse=True):
        eased = choices.copy()
        eased[part] = new
        if problem.cost(eased) <= problem.bound:
            yield eased
        for pain, other, stronger in pains[:partners]:
            if pain >= gain:
                break
            paid = eased.copy()
            paid[other] = stronger
            if other != part and problem.cost(paid) <= problem.bound:
                yield paid
