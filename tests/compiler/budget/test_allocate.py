from itertools import pairwise, product

import numpy as np
import pytest

from onnx_compress.compiler.budget.allocate import Problem, allocate


def random_problem(seed: int, parts: int, is_product: bool) -> Problem:
    rng = np.random.default_rng(seed)
    losses = [np.append(0.0, np.cumsum(rng.random(int(rng.integers(1, 5))) ** 3)) for _ in range(parts)]
    sizes = [np.sort(rng.integers(1, 60, len(loss)))[::-1] for loss in losses]

    def cost(choices: np.ndarray) -> float:
        widths = [size[c] for size, c in zip(sizes, choices)]
        return float(sum(a * b for a, b in pairwise(widths)) if is_product else sum(widths))

    full, least = cost(np.zeros(parts, int)), cost(np.array([len(loss) - 1 for loss in losses]))
    return Problem(losses, cost, least + rng.random() * (full - least))


def best(problem: Problem) -> float:
    every = (np.array(c) for c in product(*(range(len(loss)) for loss in problem.losses)))
    return min(problem.loss(c) for c in every if problem.cost(c) <= problem.bound)


@pytest.mark.parametrize("is_product", [False, True], ids=["sum", "product"])
def test_it_finds_what_trying_everything_finds(is_product):
    ratios = []
    for seed in range(60):
        problem = random_problem(seed, 5, is_product)
        choices = allocate(problem)
        assert choices is not None
        assert problem.cost(choices) <= problem.bound
        ratios.append((problem.loss(choices) + 1e-9) / (best(problem) + 1e-9))
    assert np.mean(np.array(ratios) < 1 + 1e-6) >= 0.9
    assert max(ratios) < 1.5


def test_nothing_is_given_up_for_a_bound_that_holds_anyway():
    problem = random_problem(1, 4, is_product=True)
    np.testing.assert_array_equal(allocate(Problem(problem.losses, problem.cost, 1e9)), [0, 0, 0, 0])


def test_no_choice_is_strong_enough():
    problem = random_problem(1, 4, is_product=True)
    assert allocate(Problem(problem.losses, problem.cost, 0.0)) is None


def test_stronger_choices_that_lose_less_are_taken():
    """A measured loss need not grow with every step."""
    losses = [np.array([0.0, 0.5, 0.1]), np.array([0.0, 0.2])]
    choices = allocate(Problem(losses, lambda c: float(10 - 2 * c[0] - 3 * c[1]), 8.0))
    assert choices is not None
    np.testing.assert_array_equal(choices, [2, 0])


def test_what_loses_nothing_is_not_removed_beyond_the_bound():
    flat = [np.zeros(5), np.zeros(5), np.zeros(5)]
    chosen = allocate(Problem(flat, lambda choices: float(30 - 2 * choices.sum()), 20.0))
    assert chosen is not None
    assert chosen.sum() == 5
    assert chosen.max() - chosen.min() <= 1, "no part gives all"
