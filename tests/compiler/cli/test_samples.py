from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx_compress.compiler.cli.samples import SYNTHETIC, loaded, same_inputs, samples
from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.ir.text import from_text
from tests.small_models import small_model

pytestmark = pytest.mark.usefixtures("folder")


def taking(inputs: str):
    return from_text(f'<ir_version: 10, opset_import: ["" : 21]> g ({inputs}) => (float[N] y) {{ y = Relu (x) }}')


def test_without_data_samples_are_synthetic():
    model = small_model("tied")
    assert len(samples(model, None)) == SYNTHETIC
    assert not samples(model, None, count=3).real


def test_data_are_read():
    np.savez("data.npz", x=np.arange(5 * 32, dtype=np.float32).reshape(5, 32))
    found = samples(small_model("tied"), "data.npz")
    assert len(found) == 5
    assert found.real


@pytest.mark.parametrize(
    "inputs",
    ["float[N,3] x, int64[2] k", "int64[2] k, float[N,3] x", "float[M,3] x, int64[K] k", "float[7,3] x, int64[2] k"],
)
def test_the_order_of_inputs_and_free_dimensions_do_not_matter(inputs):
    same_inputs({"a": taking("float[N,3] x, int64[2] k"), "b": taking(inputs)})


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ("float[N,3] x", "nothing instead of k"),
        ("float[N,3] x, int64[2] k, bool z", "z: bool"),
        ("float[N,4] x, int64[2] k", "x: float32"),
        ("float16[N,3] x, int64[2] k", "x: float16"),
        ("float[N,3,1] x, int64[2] k", "x: float32"),
    ],
)
def test_other_inputs_are_refused(inputs, said):
    with pytest.raises(UsageError, match="b and a take different inputs") as error:
        same_inputs({"a": taking("float[N,3] x, int64[2] k"), "b": taking(inputs)})
    assert said in str(error.value)


def test_models_have_the_shortest_names_that_tell_them_apart():
    Path("d").mkdir()
    for path in ("a.onnx", "b.onnx", "d/a.onnx"):
        small_model("tied").save(path)
    paths = [Path(path) for path in ("a.onnx", "d/a.onnx", "b.onnx", "b.onnx")]
    assert list(loaded(tuple(paths))) == ["a.onnx", "d/a.onnx", "b.onnx (1)", "b.onnx (2)"]
