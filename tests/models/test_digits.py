"""The embedded model matches its README, and its script reproduces such a model."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from models import digits

FOLDER = Path(digits.__file__).parent
FILES = ("digits.onnx", "digits_train.npz", "digits_test.npz")


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load(FOLDER / "digits.onnx")


def read(name: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(FOLDER / name, allow_pickle=False) as data:
        assert sorted(data) == ["image", "labels"]
        return data["image"], data["labels"]


def convolutions(model: onnx.ModelProto) -> list[dict[str, list[int]]]:
    nodes = [n for n in model.graph.node if n.op_type == "Conv"]
    return [{a.name: list(a.ints) for a in n.attribute} for n in nodes]


def test_accuracy_equals_that_of_the_metadata_and_the_readme(model):
    images, labels = read("digits_test.npz")
    right = digits.correct(model, (images, labels))
    properties = {p.key: p.value for p in model.metadata_props}
    assert properties["test_accuracy"] == f"{right}/{len(labels)}"
    readme = (FOLDER / "README.md").read_text()
    stated = re.search(r"\*\*([\d.]+) %\*\* \((\d+) of (\d+)\)", readme)
    assert stated is not None
    assert stated.groups() == (f"{100 * right / len(labels):.2f}", str(right), str(len(labels)))
    assert f"{sum(p.numel() for p in digits.DigitsNet().parameters()):,} parameters" in readme
    assert json.loads(properties["classes"]) == [str(digit) for digit in range(10)]


def test_structure(model):
    onnx.checker.check_model(model, full_check=True)
    ops = [n.op_type for n in model.graph.node]
    assert ops.count("BatchNormalization") == ops.count("Conv") == 8
    assert ops.count("Add") == 3
    strided = [c["kernel_shape"] for c in convolutions(model) if c["strides"] == [2, 2]]
    assert sorted(strided) == [[1, 1], [3, 3]]
    for value, rest in ((model.graph.input[0], [1, 8, 8]), (model.graph.output[0], [10])):
        batch, *others = value.type.tensor_type.shape.dim
        assert batch.dim_param == "N"
        assert [d.dim_value for d in others] == rest


def test_committed_images_are_those_of_the_split_and_disjoint():
    training, test = digits.split()
    for (images, labels), name in ((test, "digits_test.npz"), (training, "digits_train.npz")):
        stored_images, stored_labels = read(name)
        np.testing.assert_array_equal(stored_images, images[: len(stored_images)])
        np.testing.assert_array_equal(stored_labels, labels[: len(stored_labels)])
        assert stored_images.dtype == np.uint8
    assert len(training[1]) == 1200
    assert not {p.tobytes() for p in training[0]} & {p.tobytes() for p in test[0]}


def test_files_are_small():
    assert sum((FOLDER / name).stat().st_size for name in FILES) < 500_000


@pytest.mark.torch
def test_the_script_writes_the_same_bytes_twice_and_reports_its_measurement(tmp_path, monkeypatch):
    monkeypatch.setattr(digits, "EPOCHS", 2)
    threads = torch.get_num_threads()
    outputs = [CliRunner().invoke(digits.main, ["--out", str(tmp_path / run)], catch_exceptions=False) for run in "ab"]
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    right = digits.correct(onnx.load(tmp_path / "a" / "digits.onnx"), digits.split()[1])
    assert right > 0.8 * digits.TEST
    assert [o.output.split()[0] for o in outputs] == [str(right)] * 2
