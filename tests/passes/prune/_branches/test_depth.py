from __future__ import annotations

from contextlib import nullcontext
from itertools import combinations
from math import inf
from types import SimpleNamespace

import numpy as np
import pytest

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.prune._branches.depth import Trials, _products, choose


class Branches:
    """Trials whose losses and savings are given: `losses` of single branches add up, times `together` for pairs."""

    def __init__(self, losses, saves, together=1.0, inside=()):
        self.blocks = losses
        self.losses, self.saves, self.together, self.inside = losses, saves, together, dict(inside)
        self.measured: list[frozenset[int]] = []
        self.ctx = SimpleNamespace(progress=lambda label, total: nullcontext(lambda done=1: None))

    def left(self, gone):
        own = [i for i in gone if self.inside.get(i) not in gone]
        return 100 - sum(self.saves[i] for i in own)

    def loss(self, gone):
        self.measured.append(gone)
        return sum(self.losses[i] for i in gone) * self.together ** (len(gone) - 1)


def test_the_cheapest_per_saved_product_go_first():
    trials = Branches([4.0, 1.0, 3.0], [40, 5, 20])
    assert choose(trials, 65) == {0}
    assert choose(trials, 50) == {0, 2}


def test_as_many_as_the_target_needs():
    trials = Branches([1.0, 1.0, 1.0], [10, 10, 10])
    assert [len(choose(trials, target)) for target in (100, 90, 80, 75, 0)] == [0, 1, 2, 3, 3]


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_near_the_least_of_all_sets(seed):
    rng = np.random.default_rng(seed)
    trials = Branches(rng.uniform(1, 10, 6).tolist(), rng.integers(5, 20, 6).tolist())
    found = choose(trials, 60)
    every = [frozenset(chosen) for n in range(7) for chosen in combinations(range(6), n)]
    least = min(trials.loss(gone) for gone in every if trials.left(gone) <= 60)
    assert trials.left(found) <= 60
    assert trials.loss(found) <= 1.35 * least


def test_few_sets_are_measured():
    trials = Branches([float(i + 1) for i in range(8)], [10] * 8)
    choose(trials, 60)
    assert len(set(trials.measured)) <= 8 + 2 * 4


def test_branches_that_can_not_be_removed_stay():
    assert choose(Branches([inf, 2.0], [50, 10]), 0) == {1}


def test_a_part_of_a_removed_branch_is_not_named():
    trials = Branches([1.0, 5.0], [10, 40], inside={0: 1})
    assert choose(trials, 60) == {1}


def test_products_of_normal_equations():
    model = from_text(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[N,64,5,5] x) => (float[N,4,3,3] y)'
        "<float[4,64,3,3] w> { r = Relu (x) y = Conv (r, w) }"
    )
    relu, conv = model.graph.nodes
    assert _products(relu) == 0
    assert _products(conv) == (1 << 12) * 576**2


@pytest.mark.parametrize(("loss", "chosen"), [(0.5, True), (0.97, False)])
def test_plain_removal_with_a_repair_must_be_clearly_better(loss, chosen):
    trials = SimpleNamespace(repaired=True, loss=lambda gone, plain=False: loss if plain else 1.0, means=[None])
    assert Trials.is_plain(trials, frozenset([0])) == chosen
