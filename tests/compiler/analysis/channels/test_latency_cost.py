"""Latency by widths, from synthetic layer times: no clock is read here."""

from itertools import combinations

import numpy as np
import pytest

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.analysis.channels.latency_cost import LatencyCost, TimedLayer, by_group, forms, layers_of
from onnx_compress.compiler.ir.text import from_text

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
CHAIN = """g (float[N,3,8,8] x) => (float[N,5,8,8] y)
<float[64,3,1,1] a, float[64] b, float[128,64,1,1] c, float[128] d, float[5,128,1,1] e>
{ ["one"] h = Conv (x, a, b) r = Relu (h) ["two"] i = Conv (r, c, d) s = Relu (i) ["three"] y = Conv (s, e) }"""
JOINED = """g (float[N,3,8,8] x) => (float[N,5,8,8] y)
<float[32,3,1,1] a, float[32,3,1,1] b, float[64,64,1,1] c, float[5,64,1,1] e>
{ ["one"] h = Conv (x, a) ["two"] i = Conv (x, b) j = Concat <axis = 1> (h, i)
  ["three"] k = Conv (j, c) ["four"] y = Conv (k, e) }"""
UNITS = np.array([16, 16])
CANDIDATES = [np.arange(64, 0, -16), np.arange(128, 0, -16)]


def up(width):
    return -(-width // 16)


def staircase(kept):
    """Milliseconds of the chain's layers with kernels that process blocks of 16 channels."""
    return {"one": 0.1 * up(kept[0]), "two": 0.2 * up(kept[0]) * up(kept[1]), "three": 0.3 * up(kept[1]), "x": 0.5}


def chain():
    groups = ChannelGroups.of(from_text(HEAD + CHAIN))
    assert [group.size for group in groups.prunable] == [64, 128]
    return groups, layers_of(groups)


def chain_cost(times=staircase):
    groups, layers = chain()
    seen = forms(layers, CANDIDATES)
    return LatencyCost(layers, UNITS, seen, [times(kept) for kept in seen]), groups


def test_layers_know_the_groups_that_they_touch():
    _, layers = chain()
    assert {layer.name: layer.groups for layer in layers} == {
        "one": (0,), "r": (0,), "two": (0, 1), "s": (1,), "three": (1,),
    }  # fmt: skip
    two = next(layer for layer in layers if layer.name == "two")
    assert (two.inputs.tolist(), two.outputs.tolist()) == ([1, 0, 0], [0, 1, 0])


def test_the_first_variant_is_the_model_and_neighbours_see_all_pairs():
    _, layers = chain()
    seen = forms(layers, CANDIDATES)
    assert seen[0].tolist() == [64, 128]
    assert len({tuple(row) for row in seen.tolist()}) == len(seen) == 4 * 7


@pytest.mark.parametrize(("candidates", "count"), [(2, 9), (3, 9), (4, 25), (6, 49), (16, 49)])
def test_any_two_groups_of_one_layer_see_every_pair_of_widths(candidates, count):
    none = np.zeros(5)
    layers = [TimedLayer(f"{a}{b}", (a, b), none, none) for a, b in combinations(range(4), 2)]
    seen = forms(layers, [np.arange(candidates, 0, -1)] * 4)
    assert len(seen) <= count
    for a, b in combinations(range(4), 2):
        levels = len(set(seen[:, a].tolist()))
        assert levels == min(candidates, 7)
        assert len(set(map(tuple, seen[:, [a, b]].tolist()))) == levels**2
    assert seen[0].tolist() == [candidates] * 4


def test_a_width_costs_what_the_next_block_costs():
    cost, _ = chain_cost()
    for kept in ([64, 128], [48, 112], [16, 16], [33, 97], [1, 100], [17, 128]):
        assert cost.ms(np.array(kept)) == pytest.approx(sum(staircase(kept).values()), rel=1e-9), kept


def test_a_layer_without_groups_keeps_its_time():
    cost, _ = chain_cost()
    assert cost.rest == pytest.approx(0.5)


def test_a_wider_layer_never_costs_less():
    rng = np.random.default_rng(0)
    cost, _ = chain_cost(lambda kept: {name: ms * rng.uniform(0.7, 1.4) for name, ms in staircase(kept).items()})
    grid = np.array([[cost.ms(np.array([a, b])) for b in range(1, 129)] for a in range(1, 65)])
    assert (np.diff(grid, axis=0) >= -1e-12).all()
    assert (np.diff(grid, axis=1) >= -1e-12).all()


def test_a_saving_within_the_noise_counts_as_none():
    """Below 32 channels the kernels are no faster, although the clock, off by 2 %, says so."""
    rng = np.random.default_rng(1)

    def times(kept):
        return {"two": (1.0 if kept[0] <= 32 else 2.0) * rng.uniform(0.98, 1.02)}

    cost, _ = chain_cost(times)
    full, half, least = (cost.ms(np.array([first, 128])) for first in (64, 32, 16))
    assert least == half < 0.6 * full


def test_calibration_scales_to_what_was_measured():
    cost, _ = chain_cost()
    before = cost.ms(np.array([32, 64])) / cost.ms(np.array([64, 128]))
    cost.calibrate(np.array([64, 128]), 50.0)
    assert cost.ms(np.array([64, 128])) == pytest.approx(50)
    assert cost.ms(np.array([32, 64])) == pytest.approx(50 * before)


def test_groups_are_charged_for_the_layers_that_compute_and_read_them():
    cost, groups = chain_cost()
    kept = np.array([32, 64])
    assert by_group(cost, groups, kept) == pytest.approx([0.2 + 0.2 * 2 * 4, 0.2 * 2 * 4 + 0.3 * 4])
    assert sum(cost.by_layer(kept).values()) + cost.rest == pytest.approx(cost.ms(kept))


def test_a_layer_of_many_groups_is_fitted_by_the_channels_it_reads_and_writes():
    groups = ChannelGroups.of(from_text(HEAD + JOINED))
    layers = layers_of(groups)
    assert next(layer.groups for layer in layers if layer.name == "three") == (0, 1, 2)

    def times(kept):
        return {"three": 0.1 + 0.01 * (kept[0] + kept[1]) + 0.002 * (kept[0] + kept[1]) * kept[2]}

    seen = forms(layers, [np.arange(32, 0, -8), np.arange(32, 0, -8), np.arange(64, 0, -16)])
    cost = LatencyCost(layers, np.array([8, 8, 16]), seen, [times(kept) for kept in seen])
    for kept in ([32, 32, 64], [8, 24, 48], [16, 8, 16]):
        assert cost.ms(np.array(kept)) == pytest.approx(times(kept)["three"], rel=1e-6)


def test_a_fit_has_no_negative_coefficient():
    groups = ChannelGroups.of(from_text(HEAD + JOINED))
    layers = layers_of(groups)
    seen = forms(layers, [np.arange(32, 0, -8), np.arange(32, 0, -8), np.arange(64, 0, -16)])
    cost = LatencyCost(layers, np.array([8, 8, 16]), seen, [{"three": 5 - 0.02 * sum(kept)} for kept in seen])
    widths = [cost.ms(np.array([8 * i, 8 * i, 16 * i])) for i in range(1, 5)]
    assert widths == sorted(widths)
    assert widths[0] > 0


@pytest.mark.parametrize(("most", "count"), [(1000, 49), (49, 49), (48, 25), (24, 9), (0.1, 9)])
def test_large_models_run_in_fewer_variants(most, count):
    none = np.zeros(3)
    seen = forms([TimedLayer("l", (0, 1), none, none)], [np.arange(16, 0, -1)] * 2, most)
    assert len(seen) == count
