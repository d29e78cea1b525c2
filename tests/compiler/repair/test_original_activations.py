from __future__ import annotations

import numpy as np

from onnx_compress.compiler.repair import Effort
from onnx_compress.compiler.repair.original_activations import RUN_BYTES, Reference, Wanted
from onnx_compress.compiler.runtime.capture import Capture
from tests.compiler.repair.repaired_models import (
    CHAINS,
    data_for,
    distance,
    parsed,
    repaired,
    set_weight,
    without_half,
    without_second_half,
)


def test_fewer_rows_take_fewer_positions():
    original = parsed(CHAINS["conv"])
    rows = {}
    for per_unknown in (4, 24):
        report = repaired(
            without_second_half(original), original, data_for(original, samples=4096), effort=Effort(per_unknown)
        )
        rows[per_unknown] = report.layers[0].rows
    assert rows[4] < rows[24] / 4


def test_several_candidates_share_one_reference():
    original = parsed(CHAINS["conv"])
    data = data_for(original)
    reference = Reference(original, data, int(np.random.default_rng(0).integers(1 << 62)))
    first, second = without_second_half(original), without_second_half(original)
    repaired(first, original, data, reference=reference)
    recorded = reference._kept["y"].recording
    repaired(second, original, data, reference=reference)
    assert reference._kept["y"].recording is recorded
    assert first.proto() == second.proto()


def test_values_of_the_model_before_the_pass_correspond_by_name():
    """Earlier differences from the original are not rolled back, and removed channels do not matter."""
    original = parsed(CHAINS["gemm"])
    found = without_half(original, 0)
    set_weight(found, "a", lambda w: w * 1.5)
    model = found.clone()
    set_weight(model, "a", lambda w: w * 1.3)
    assert distance(found, model) > 0.1
    report = repaired(model, found, data_for(original, 400), is_found=True)
    assert report.layers[0].is_changed
    assert distance(found, model) < 1e-5
    assert distance(original, model) > 0.1


def recorded(rows, samples=40):
    original = parsed(CHAINS["conv"])
    data = data_for(original, samples=samples)
    reference = Reference(original, data, seed=3)
    reference.record({"h": Wanted(1, rows)})
    return original, data, list(reference.rows("h"))


def test_rows_are_values_of_the_original_at_their_places():
    original, data, found = recorded(400)
    values = np.concatenate([arrays["h"] for arrays in Capture(original, ["h"]).batches(data, len(data))])
    start = 0
    for rows in found:
        part = values[start : start + rows.outs[0]]
        flat = np.moveaxis(part, 1, -1).reshape(-1, part.shape[1])
        np.testing.assert_allclose(rows.values, flat[rows.places], rtol=1e-5, atol=1e-6)
        start += rows.outs[0]
    assert start == len(data)


def test_as_many_positions_are_sampled_as_wanted_the_same_at_every_run():
    _, _, found = recorded(400)
    assert [len(rows.places) for rows in found] == [320, 320], "400 of 40 samples, in runs of 32"
    assert all((np.diff(rows.places) > 0).all() for rows in found)
    again = recorded(400)[2]
    assert all(np.array_equal(a.places, b.places) for a, b in zip(found, again, strict=True))
    everything = recorded(1 << 20)[2]
    assert sum(len(rows.places) for rows in everything) == 40 * 81


def test_a_value_is_recorded_again_only_for_more_rows():
    assert Wanted(1, 100).covers(Wanted(1, 50))
    assert not Wanted(1, 50).covers(Wanted(1, 100))
    assert not Wanted(1, 100).covers(Wanted(-1, 50))


def test_large_samples_run_in_small_batches():
    original = parsed(CHAINS["conv"])
    reference = Reference(original, data_for(original))
    before = reference.batch
    reference.limit(1)
    assert reference.batch == before
    reference.limit(RUN_BYTES // 3)
    assert reference.batch == 3
