"""A layer that the user keeps out of every pass reads the same weight afterwards, however the file hands it over."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.pipeline import spec
from tests.contexts import context

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'
SHARED = f"""{HEAD} g (float[N,64] x) => (float[N,64] y) <float[64,64] w>
{{{{ ["body"] h = MatMul (x, w) r = Relu (h) {{}} ["head"] y = MatMul (r, v) }}}}"""
OWN = f"""{HEAD} g (float[N,64] x) => (float[N,64] y) <float[64,64] u, float[64,64] w>
{{{{ ["body"] h = MatMul (x, u) r = Relu (h) {{}} ["head"] y = MatMul (r, v) }}}}"""
PATHS = (
    "v = Identity (w)",
    "t = Identity (w) v = Identity (t)",
    "v = Transpose <perm = [1,0]> (w)",
    "t = Identity (w) v = Transpose <perm = [1,0]> (t)",
)
PASSES = (
    "encode",
    "cluster-weights:bits=2",
    "sparsify-weights:sparsity=0.9",
    "quantize-weights",
    "quantize-int8:types=u8s8",
    "convert-float16",
    "convert-float16:kind=storage",
    "prune-channels:ratio=0.5",
    "remove-dead-channels",
)


def net(text: str, path: str) -> Model:
    """Weights of few values, of which half the channels between the layers are zero."""
    model = from_text(text.format(path))
    for i, constant in enumerate(model.constants()):
        values = np.random.default_rng(i).integers(-2, 3, constant.shape).astype(np.float32)
        values[:, ::2] = 0.0
        values[::2] = 0.0
        edit.replace_values(model, constant, 1.001 * values)
    return model


def weight_of(model: Model, name: str) -> tuple[list[str], str, np.ndarray]:
    """How the weight of a layer gets to it, the form in which it is stored, and its values."""
    tensor: Tensor = next(node for node in model.nodes() if node.name == name).inputs[1]
    passed = []
    while not isinstance(tensor, Constant):
        passed.append(tensor.inputs[0].op)
        tensor = tensor.inputs[0].inputs[0]
    return passed, type(tensor.stored).__name__, tensor.values


@pytest.mark.parametrize("item", PASSES)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("text", [SHARED, OWN], ids=["shared", "own"])
def test_an_excluded_layer_keeps_its_weight(text: str, path: str, item: str) -> None:
    model = net(text, path)
    passed, form, values = weight_of(model, "head")
    one = spec.parse(item)[0]
    one.run(model, context(one, model, exclude=("head",)))
    after = weight_of(model, "head")
    assert after[:2] == (passed, form)
    np.testing.assert_array_equal(after[2], values)


@pytest.mark.parametrize("item", PASSES)
def test_without_the_exclusion_the_pass_changes_something(item: str) -> None:
    model = net(OWN, PATHS[0])
    one = spec.parse(item)[0]
    assert one.run(model, context(one, model)) > 0
