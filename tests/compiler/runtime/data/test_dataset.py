from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.runtime.data.dataset import Dataset, load
from onnx_compress.compiler.runtime.specs import TensorSpec, specs
from tests.compiler.runtime.nets import FIXED, LINEAR, STATE, ZIPMAP, net

ROWS = np.arange(30, dtype=np.float32).reshape(10, 3)
INPUTS = specs(net(LINEAR)).inputs


def loaded(labels: bool = True) -> Dataset:
    return load({"x": ROWS, **({"labels": np.arange(10) % 3} if labels else {})}, INPUTS)


def test_batches_hold_all_samples_in_order_with_their_labels() -> None:
    runs = list(loaded().runs(4))
    assert [run.count for run in runs] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([run.feeds["x"] for run in runs]), ROWS)
    labels = [run.labels for run in runs if run.labels is not None]
    np.testing.assert_array_equal(np.concatenate(labels), np.arange(10) % 3)
    assert [batch["x"].shape for batch in loaded().batches(4)] == [(4, 3), (4, 3), (2, 3)]


def test_labels_are_optional() -> None:
    assert loaded(labels=False).labels is None
    assert next(loaded(labels=False).runs()).labels is None


def test_samples_can_be_read_repeatedly() -> None:
    dataset = loaded()
    for _ in range(2):
        assert sum(batch["x"].sum() for batch in dataset.batches(3)) == ROWS.sum()


def test_a_draw_is_random_repeatable_nested_and_keeps_labels_with_samples() -> None:
    dataset = load(
        {"x": np.repeat(np.arange(300, dtype=np.float32), 3).reshape(300, 3), "labels": np.arange(300)}, INPUTS
    )
    small, large = dataset.take(20), dataset.take(50)
    assert len(small) == 20
    assert set(small.indices) < set(large.indices)
    np.testing.assert_array_equal(small.indices, dataset.take(20).indices)
    assert set(small.indices) != set(dataset.take(20, seed=1).indices)
    assert small.indices.max() > 100  # not just the first ones
    np.testing.assert_array_equal(next(small.batches(20))["x"][:, 0], small.labels)
    assert dataset.take(1000) is dataset


def test_the_parts_of_a_split_are_disjoint_and_make_up_the_whole() -> None:
    dataset = load({"x": np.zeros((103, 3), np.float32)}, INPUTS)
    calibration, held_out = dataset.split()
    assert (len(calibration), len(held_out)) == (77, 26)
    assert sorted([*calibration.indices, *held_out.indices]) == list(range(103))
    np.testing.assert_array_equal(held_out.indices, dataset.split()[1].indices)
    assert set(held_out.indices) != set(dataset.split(seed=1)[1].indices)
    assert len(dataset.take(2).split(0.01)[1]) == 1


def test_a_split_of_a_part_stays_inside_it() -> None:
    part = load({"x": np.zeros((50, 3), np.float32)}, INPUTS).take(9)
    assert sorted(itertools.chain(*(side.indices for side in part.split()))) == sorted(part.indices)


def test_a_single_sample_is_in_both_parts() -> None:
    dataset = loaded().take(1)
    assert dataset.split() == (dataset, dataset)


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data.{suffix}"
    np.save(path, ROWS) if suffix == "npy" else np.savez(path, x=ROWS, labels=np.arange(10))
    dataset = load(str(path), INPUTS)
    np.testing.assert_array_equal(next(dataset.batches(10))["x"], ROWS)
    assert (dataset.real, dataset.source.origin) == (True, str(path))


def test_a_fixed_batch_is_padded() -> None:
    runs = list(load({"x": ROWS}, specs(net(FIXED)).inputs).runs(32))
    assert [(run.count, run.feeds["x"].shape) for run in runs] == [(4, (4, 3)), (4, (4, 3)), (2, (4, 3))]
    np.testing.assert_array_equal(runs[2].feeds["x"], ROWS[[8, 9, 9, 9]])


def test_a_dataset_is_loaded_unchanged() -> None:
    dataset = loaded()
    assert load(dataset, INPUTS) is dataset


@pytest.mark.parametrize("name", ["absent.npz", "absent", "C:\\data.npz", "not a name:at all"])
def test_missing_files(name: str) -> None:
    with pytest.raises(DataError, match="there is no such file or folder"):
        load(name, INPUTS)


def test_an_unknown_format(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1,2,3")
    with pytest.raises(DataError, match=r"unknown format: use \.npz"):
        load(tmp_path / "data.csv", INPUTS)


def test_an_npy_for_several_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", ROWS)
    with pytest.raises(DataError, match=r"a \.npy holds one input; this model needs an \.npz with input: float32"):
        load(tmp_path / "d.npy", specs(net(STATE)).inputs)


def test_an_input_that_is_not_a_tensor() -> None:
    sequence = TensorSpec("s", None, None, specs(net(ZIPMAP)).outputs[0].kind)
    with pytest.raises(DataError, match="input 's' is a sequence: only tensors are supported"):
        load({"s": ROWS}, [sequence])


def test_a_third_part_is_taken_from_the_rest_alone() -> None:
    dataset = load({"x": np.zeros((103, 3), np.float32)}, INPUTS)
    calibration, held_out = dataset.split()
    rest, measuring, stopping = dataset.parts(0.25, 0.1)
    assert (len(rest), len(measuring), len(stopping)) == (67, 26, 10)
    np.testing.assert_array_equal(measuring.indices, held_out.indices)
    assert sorted([*rest.indices, *stopping.indices]) == calibration.indices.tolist()
    again = dataset.parts(0.25, 0.1)
    assert all((one.indices == other.indices).all() for one, other in zip((rest, measuring, stopping), again))
    assert set(stopping.indices) != set(dataset.parts(0.25, 0.1, seed=1)[2].indices)


def test_of_too_few_samples_the_last_parts_get_those_of_the_rest() -> None:
    rest, measuring, stopping = loaded().take(2).parts(0.25, 0.1)
    assert len(rest) == len(measuring) == 1
    assert rest.indices.tolist() == stopping.indices.tolist() != measuring.indices.tolist()


def shuffled_by(dataset: Dataset, seed: int) -> Dataset:
    return dataset.shuffled(np.random.default_rng(seed))


def test_a_shuffled_dataset_has_each_sample_once_with_its_label_in_another_order() -> None:
    dataset = load({"x": np.repeat(np.arange(50, dtype=np.float32), 3).reshape(50, 3), "labels": np.arange(50)}, INPUTS)
    shuffled = shuffled_by(dataset, 1)
    seen = np.concatenate([batch["x"][:, 0] for batch in shuffled.batches(7)])
    np.testing.assert_array_equal(seen, shuffled.labels)
    assert seen.tolist() != sorted(seen)
    assert sorted(seen) == list(range(50))
    assert shuffled.indices.tolist() == shuffled_by(dataset, 1).indices.tolist()
    assert shuffled.indices.tolist() != shuffled_by(dataset, 2).indices.tolist()
    part = shuffled.take(20)
    np.testing.assert_array_equal(np.concatenate([b["x"][:, 0] for b in part.batches(20)]), part.labels)


def test_for_the_same_inputs_a_dataset_is_itself_and_for_others_made_once() -> None:
    dataset = loaded()
    assert dataset.for_inputs(INPUTS) is dataset
    wider = [TensorSpec("x", np.dtype(np.float64), ("N", 3))]
    other = dataset.take(4).for_inputs(wider)
    assert next(other.batches())["x"].dtype == np.float64
    np.testing.assert_array_equal(other.indices, dataset.take(4).indices)
    np.testing.assert_array_equal(other.labels, dataset.take(4).labels)
    assert dataset.for_inputs(wider) is dataset.for_inputs(wider)
    assert load(dataset, wider) is dataset.for_inputs(wider)
