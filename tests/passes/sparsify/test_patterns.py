from itertools import product

import numpy as np
import pytest

from onnx_compress.compiler.errors import UsageError
from onnx_compress.passes.sparsify._patterns import Pattern
from tests.passes.sparsify.systems import rng


def kept(pattern, shape, channels, count):
    importance = rng().random(shape)
    return Pattern.parse(pattern).kept(importance, np.ones(shape, bool), channels, count), importance


@pytest.mark.parametrize(("pattern", "keep", "of"), [("2of4", 2, 4), ("1of4", 1, 4), ("5of8", 5, 8)])
def test_of_each_run_of_inputs_the_best_stay(pattern, keep, of):
    mask, importance = kept(pattern, (2, 3 * 8, 5), 8, 0)
    for g, m in product(range(2), range(5)):
        for start in range(0, 24, of):
            run = slice(start, start + of)
            best = np.argsort(-importance[g, run, m])[:keep]
            assert np.flatnonzero(mask[g, run, m]).tolist() == sorted(best.tolist())


def test_rounds_of_runs_are_removed_one_by_one():
    importance = rng().random((1, 8, 2))
    mask = Pattern.parse("2of4").kept(importance, np.ones(importance.shape, bool), 8, 12)
    assert (mask.reshape(1, 2, 4, 2).sum(2) == 3).all()


@pytest.mark.parametrize(("pattern", "outputs", "inputs"), [("2x4", 2, 4), ("8x1", 8, 1), ("3x5", 3, 5)])
def test_blocks_stay_or_go_as_a_whole_and_do_not_cross_taps(pattern, outputs, inputs):
    mask, importance = kept(pattern, (1, 2 * 6, 8), 6, 40)
    sums = {}
    for tap, row, column in product(range(2), range(0, 6, inputs), range(0, 8, outputs)):
        place = (0, slice(6 * tap + row, 6 * tap + min(6, row + inputs)), slice(column, column + outputs))
        assert mask[place].all() or not mask[place].any()
        sums[importance[place].mean()] = bool(mask[place].any())
    ranked = [sums[value] for value in sorted(sums, reverse=True)]
    assert ranked == sorted(ranked, reverse=True), "the blocks of the highest mean importance stay"
    assert 40 - outputs * inputs < mask.sum() <= 40


def test_shapes_are_taps_of_inputs_for_all_outputs():
    mask, importance = kept("shape", (1, 12, 7), 4, 35)
    assert mask.sum() == 35
    assert set(np.flatnonzero(mask[0, :, 0])) == set(np.argsort(-importance[0].sum(1))[:5])
    assert (mask[0] == mask[0][:, :1]).all()


@pytest.mark.parametrize("text", ["", "4of2", "0of4", "0x4", "x4", "2:4", "99999x1", "2of4x", "rows"])
def test_other_patterns_are_refused(text):
    with pytest.raises(UsageError, match="unknown pattern"):
        Pattern.parse(text)
