from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.runtime.data import stream
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.specs import TensorSpec, specs
from tests.compiler.runtime.nets import LINEAR, STATE, net

INPUTS = specs(net(LINEAR)).inputs
Batches = Iterator[dict[str, np.ndarray]]


def rows(*counts: int, labelled: bool = True) -> Batches:
    start = 0
    for count in counts:
        x = np.repeat(np.arange(start, start + count, dtype=np.float32), 3).reshape(count, 3)
        yield {"x": x, "labels": np.arange(start, start + count)} if labelled else {"x": x}
        start += count


@pytest.mark.parametrize(
    ("counts", "size", "expected"),
    [((1,) * 7, 3, [3, 3, 1]), ((7,), 3, [3, 3, 1]), ((2, 5, 1), 4, [2, 4, 2]), ((4, 4), 4, [4, 4])],
)
def test_batches_of_any_size_become_runs_of_the_requested_size(
    counts: tuple[int, ...], size: int, expected: list[int]
) -> None:
    dataset = load(lambda: rows(*counts), INPUTS)
    runs = list(dataset.runs(size))
    assert [run.count for run in runs] == expected
    for run in runs:
        np.testing.assert_array_equal(run.feeds["x"][:, 0], run.labels)
    assert len(dataset) == sum(counts)


def test_a_part_of_a_stream() -> None:
    part = load(lambda: rows(3, 4, 5), INPUTS).take(5)
    seen = np.concatenate([batch["x"][:, 0] for batch in part.batches(2)])
    np.testing.assert_array_equal(seen, part.indices)
    np.testing.assert_array_equal(part.labels, part.indices)


def test_shapes_may_differ_from_batch_to_batch() -> None:
    def lengths() -> Batches:
        for length in (4, 4, 6):
            yield {
                "input": np.zeros((1, length), np.float32),
                "state": np.zeros((2, 1, 8), np.float32),
                "sr": np.int64(1),
            }

    dataset = load(lengths, specs(net(STATE)).inputs)
    assert [batch["input"].shape for batch in dataset.batches(8)] == [(1, 4), (1, 4), (1, 6)]


def test_differing_lengths_are_not_merged() -> None:
    def lengths() -> Batches:
        for length in (4, 4, 6):
            yield {"x": np.zeros((1, length), np.float32)}

    free = specs(net("g (float[N,T] x) => (float[N,T] y) { y = Relu (x) }")).inputs
    assert [batch["x"].shape for batch in load(lengths, free).batches(8)] == [(2, 4), (1, 6)]


def test_a_function_is_found_by_name_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_samples.py").write_text(
        "import numpy as np\ndef some():\n    yield {'x': np.ones((2, 3), np.float32)}\nnumber = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    try:
        assert len(load("my_samples:some", INPUTS)) == 2
        with pytest.raises(DataError, match="has no 'other'"):
            load("my_samples:other", INPUTS)
        with pytest.raises(DataError, match="is not a function"):
            load("my_samples:number", INPUTS)
    finally:
        sys.modules.pop("my_samples", None)
    assert sys.path == before


def test_a_missing_module() -> None:
    with pytest.raises(DataError, match="module 'no_such_module_here' can't be imported"):
        load("no_such_module_here:f", INPUTS)


def broken() -> Batches:
    yield from rows(2)
    raise RuntimeError("disk on fire")


def partly_labelled() -> Batches:
    yield from rows(2)
    yield from rows(2, labelled=False)


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (lambda: iter(()), "yields no samples"),
        (broken, "broken failed: RuntimeError: disk on fire"),
        (partly_labelled, "yields labels with some batches but not with others"),
        (lambda: iter([np.zeros((1, 3))]), "batch 0: expected a dict of arrays, not ndarray"),
        (lambda: iter([{"x": np.zeros((1, 4), np.float32)}]), r"batch 0: 'x' has shape \[1, 4\]"),
        (lambda: 3, "failed: TypeError"),
    ],
)
def test_functions_that_do_not_yield_samples(function: stream.BatchFunction, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        load(function, INPUTS)


def test_a_function_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_SAMPLES", 50)
    with pytest.raises(DataError, match="more than 50 samples: it must end"):
        load(lambda: rows(*([10] * 100)), INPUTS)


def test_a_function_that_yields_less_the_second_time() -> None:
    passes = iter([5, 3])
    dataset = load(lambda: rows(next(passes)), INPUTS)
    with pytest.raises(DataError, match="yielded 5 samples the first time and 3 later"):
        list(dataset.batches(2))


@pytest.mark.parametrize(("held", "passes"), [(1 << 20, 1), (5 * 12, 3), (1, 12)])
def test_a_stream_in_a_random_order_is_run_once_for_each_part_that_memory_holds(
    held: int, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted() -> Batches:
        calls.append(1)
        return rows(3, 4, 5)

    monkeypatch.setattr(stream, "HELD_BYTES", held)
    dataset = load(counted, INPUTS).shuffled(np.random.default_rng(0))
    calls.clear()
    runs = list(dataset.runs(4))
    assert [run.count for run in runs] == [4, 4, 4]
    np.testing.assert_array_equal(np.concatenate([run.feeds["x"][:, 0] for run in runs]), dataset.indices)
    np.testing.assert_array_equal(dataset.labels, dataset.indices)
    assert len(calls) == passes


def test_a_stream_for_other_inputs_is_read_as_they_are_or_refused() -> None:
    def batches() -> Batches:
        yield {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}

    dataset = load(batches, INPUTS)
    other = dataset.for_inputs([TensorSpec("x", np.dtype(np.float64), ("N", 3))])
    assert next(other.batches())["x"].dtype == np.float64
    with pytest.raises(DataError, match=r"batch 0: 'x' has shape \[2, 3\]; .* give arrays for the new inputs"):
        dataset.for_inputs([TensorSpec("x", np.dtype(np.float32), ("N", 2))])
