from __future__ import annotations

from dataclasses import dataclass, field
from math import log

import pytest

from onnx_compress.compiler.budget.search import HIGH, LOW, Trial, gains, search
from onnx_compress.compiler.repair.effort import FULL


@dataclass
class Formula:
    """A pipeline whose figures are formulas: strength i at level n loses `losses[i][n]` and saves `savings[i][n]`.

    Cheap trials lose `excess` times as much. `models` counts the results that are alive.
    """

    losses: list[list[float]]
    savings: list[list[float]]
    excess: float = 1.0
    asked: list = field(default_factory=list)

    @property
    def heights(self):
        return tuple(len(loss) - 1 for loss in self.losses)

    def trial(self, levels, effort):
        self.asked.append((levels, effort))
        drop = sum(loss[level] for loss, level in zip(self.losses, levels))
        cost = sum(log(1 - saved[level]) for saved, level in zip(self.savings, levels))
        return Trial(levels, drop * (self.excess if effort is not FULL else 1), cost, 1.0, effort, result=object())

    def search(self, budget, trust=HIGH):
        base = Trial((0,) * len(self.losses), 0.0, 0.0, 1.0, FULL)
        return search(self, base, budget, trust)


def rising(height, step=0.2):
    return [step * level for level in range(height + 1)]


@pytest.mark.parametrize("budget", [0.3, 1.0, 2.2, 3.7, 100.0])
def test_one_strength_is_the_strongest_that_fits(budget):
    formula = Formula([rising(18)], [rising(18, 0.05)])
    found = formula.search(budget)
    assert found.best.levels == (min(18, int(budget / 0.2 + 1e-9)),)
    assert found.best.effort is FULL
    assert found.best.result is not None


@pytest.mark.parametrize("budget", [0.3, 1.0, 2.2, 100.0])
def test_nothing_is_tried_twice_and_one_strength_takes_few_trials(budget):
    formula = Formula([rising(18)], [rising(18, 0.05)])
    formula.search(budget)
    assert len(set(formula.asked)) == len(formula.asked)
    assert sum(effort is not FULL for _, effort in formula.asked) <= 5
    assert sum(effort is FULL for _, effort in formula.asked) <= 2 + 18 * (HIGH.near - 1)


def test_what_only_seems_too_costly_in_a_cheap_trial_is_run_in_full():
    formula = Formula([[0.0, 0.9]], [[0.0, 0.5]], excess=1.2)
    assert formula.search(1.0).best.levels == (1,)
    assert Formula([[0.0, 0.9]], [[0.0, 0.5]], excess=2.0).search(1.0).best is None


def test_a_result_with_most_of_the_budget_left_is_raised_in_full():
    formula = Formula([rising(8, 0.1)], [rising(8, 0.05)], excess=4.0)
    assert formula.search(1.0).best.levels == (6,), "to where half the budget is spent"
    assert len(set(formula.asked)) == len(formula.asked)


def test_with_little_trust_stronger_ones_are_run_in_full_and_none_is_held():
    formula = Formula([rising(8, 0.1)], [rising(8, 0.05)], excess=4.0)
    assert formula.search(1.0, LOW).best.levels == (5,), "whose cheap trial loses twice the budget"
    full = [levels for levels, effort in formula.asked if effort is FULL]
    assert full == [(5,)]


def test_what_a_cheap_trial_makes_look_better_gives_way_value_by_value():
    formula = Formula([rising(8)], [rising(8, 0.1)], excess=0.5)
    found = formula.search(0.65)
    assert found.best.levels == (3,)
    full = [levels for levels, effort in formula.asked if effort is FULL]
    assert full == sorted(full, reverse=True)


def test_strengths_share_the_budget_by_what_they_save_for_what_they_lose():
    good, poor = rising(8, 0.1), rising(8, 0.01)
    first = Formula([rising(8), rising(8)], [good, poor]).search(1.0).best.levels
    second = Formula([rising(8), rising(8)], [poor, good]).search(1.0).best.levels
    assert first == (5, 0)
    assert second == (0, 5)


def test_strengths_with_falling_returns_are_raised_together():
    curve = [0.0, 0.4, 0.55, 0.62, 0.66, 0.68]
    best = Formula([rising(5), rising(5)], [curve, curve]).search(0.8).best
    assert best.levels == (2, 2)


def test_a_value_that_saves_nothing_is_passed_over_for_one_that_does():
    stairs = [0.0, 0.0, 0.0, 0.3, 0.3]
    assert Formula([rising(4, 0.1), rising(4)], [stairs, rising(4, 0.0)]).search(1.0).best.levels == (3, 0)


def test_nothing_is_found_where_nothing_saves_or_nothing_fits():
    assert Formula([rising(4)], [[0.0] * 5]).search(1.0).best is None
    assert Formula([[0.0, 5.0, 6.0]], [[0.0, 0.3, 0.4]]).search(1.0).best is None
    assert Formula([[0.0]], [[0.0]]).search(1.0).best is None


def test_only_the_result_of_the_winner_is_kept():
    found = Formula([rising(8), rising(8)], [rising(8, 0.1), rising(8, 0.05)]).search(1.0)
    assert found.best.result is not None
    assert all(trial.result is None for trial in (*found.tried, *found.path))


def test_gains_add_up_to_what_was_reached():
    found = Formula([rising(8), rising(8)], [rising(8, 0.1), rising(8, 0.09)]).search(1.2)
    gained = gains(found.path)
    assert sum(saved for saved, _ in gained) == pytest.approx(-found.path[-1].cost)
    assert sum(lost for _, lost in gained) == pytest.approx(found.path[-1].drop)
