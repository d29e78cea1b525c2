"""onnxruntime folds every node of a stored weight at load: it then runs the same graph as for the plain model."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.store import store_as, store_sparse
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.storage.cells import Cells
from onnx_compress.compiler.storage.forms import stack
from onnx_compress.compiler.storage.forms.choice import FORMS, written
from onnx_compress.compiler.storage.forms.sparse import sparse_tensor
from onnx_compress.compiler.storage.forms.stack import Member
from onnx_compress.compiler.storage.structure import Structure
from onnx_compress.compiler.storage.weight import WeightValues
from tests.behaviour import feeds_for, run

READERS = {
    "Conv": "(float[1,8,9,9] x) => (float[1,16,7,7] y) <float[16,8,3,3] w> { y = Conv (x, w) }",
    "ConvTranspose": "(float[1,16,9,9] x) => (float[1,8,11,11] y) <float[16,8,3,3] w> { y = ConvTranspose (x, w) }",
    "Gemm": "(float[1,32] x) => (float[1,64] y) <float[64,32] w> { y = Gemm <transB = 1> (x, w) }",
    "MatMul": "(float[1,32] x) => (float[1,64] y) <float[32,64] w> { y = MatMul (x, w) }",
    "LSTM": "(float[5,1,16] x) => (float[5,1,1,8] y) <float[1,32,16] w, float[1,32,8] r>"
    " { y = LSTM <hidden_size = 8> (x, w, r) }",
    "Gather": "(int64[5] x) => (float[5,16] y) <float[64,16] w> { y = Gather (w, x) }",
    "twice": "(float[1,32] x) => (float[1,32] y) <float[32,32] w> { h = MatMul (x, w) y = MatMul (h, w) }",
    "If": "(float[1,32] x, bool flag) => (float[1,32] y) { y = If (flag) <"
    "then_branch = a () => (float[1,32] t) <float[32,32] w> { t = MatMul (x, w) },"
    "else_branch = b () => (float[1,32] e) { e = Neg (x) } > }",
    "outside of If": "(float[1,32] x, bool flag) => (float[1,32] y) <float[32,32] w> { y = If (flag) <"
    "then_branch = a () => (float[1,32] t) { t = MatMul (x, w) },"
    "else_branch = b () => (float[1,32] e) { e = Neg (x) } > }",
    "Loop": "(float[1,32] x, int64 n, bool go) => (float[1,32] y) { y = Loop (n, go, x) <"
    "body = a (int64 i, bool c, float[1,32] s) => (bool d, float[1,32] t) <float[32,32] w>"
    " { d = Identity (c) t = MatMul (s, w) } > }",
}


def optimized(model: Model, path) -> list:
    """The operators that onnxruntime runs, bodies nested, each graph's sorted."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.optimized_model_filepath = str(path)
    model.save(path.with_suffix(".in.onnx"), force=True)
    onnxruntime.InferenceSession(str(path.with_suffix(".in.onnx")), options, providers=["CPUExecutionProvider"])
    return operators(onnx.load(path).graph)


def operators(graph: onnx.GraphProto) -> list:
    attributes = sorted((a for node in graph.node for a in node.attribute), key=lambda a: a.name)
    bodies = [operators(a.g) for a in attributes if a.type == onnx.AttributeProto.GRAPH]
    return [sorted(node.op_type for node in graph.node), bodies]


def model_with(text: str, opset: int) -> tuple[Model, np.ndarray]:
    """The model with a weight that suits every form: 8 integers times a scale, sparse, periodic, in pairs."""
    model = from_text(f'<ir_version: {10 if opset >= 21 else 7}, opset_import: ["" : {opset}]> g {text}')
    rng = np.random.default_rng(0)
    constant = next(c for c in model.constants() if c.name == "w")
    half = (constant.shape[0] // 2, *constant.shape[1:]) if constant.shape[0] > 1 else constant.shape
    codes = rng.integers(-4, 4, half) * (rng.random(half) < 0.4)
    scale = np.full((1,) * len(half), 0.1, np.float32)
    values = np.tile(codes.astype(np.float32) * scale, (constant.shape[0] // half[0], *(1 for _ in half[1:])))
    edit.replace_values(model, constant, values, Structure(scale=scale, cells=Cells(1, 2, 0)))
    return model, values


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("reader", READERS)
def test_nothing_runs_at_inference(reader, opset, tmp_path):
    plain, _ = model_with(READERS[reader], opset)
    expected = optimized(plain, tmp_path / "plain.onnx")
    done = set()
    for form in FORMS:
        model = plain.clone()
        constant = next(c for c in model.constants() if c.name == "w")
        weight = WeightValues(constant.values, constant.promised)
        if form.least(weight, opset) is None:
            continue
        store_as(model, {"w": constant}, written(form, weight, "w", "b", opset))
        assert optimized(model, tmp_path / f"{form.name}.onnx") == expected, form.name
        done.add(form.name)
    assert done >= {form.name for form in FORMS} - {"tile"}


@pytest.mark.parametrize("reader", READERS)
def test_sparse_initializers_load_and_run_everywhere(reader, tmp_path):
    plain, _ = model_with(READERS[reader], 17)
    model = plain.clone()
    constant = next(c for c in model.constants() if c.name == "w")
    store_sparse(model, constant, sparse_tensor(WeightValues(constant.values), "w"))
    assert optimized(model, tmp_path / "sparse.onnx")[0] == optimized(plain, tmp_path / "plain.onnx")[0]
    feeds = {name: np.ones_like(array) for name, array in feeds_for(plain).items()}
    assert all(map(np.array_equal, run(model, feeds), run(plain, feeds)))


@pytest.mark.parametrize("form", stack.FORMS)
def test_a_stack_is_folded(form, tmp_path):
    text = "(float[1,32] x) => (float[1,16] y) <float[32,32] w, float[32,16] v, float[16] b>"
    plain, values = model_with(f"{text} {{ h = MatMul (x, w) y = Gemm (h, v, b) }}", 13)
    weights = {c.name: c for c in plain.constants()}
    edit.replace_values(plain, weights["v"], values[:, :16])
    edit.replace_values(plain, weights["b"], values[0, :16])
    model = plain.clone()
    weights = {c.name: c for c in model.constants()}
    members = [Member(name, name, WeightValues(c.values)) for name, c in weights.items()]
    store_as(model, weights, stack.stacked(members, form, 13))
    assert optimized(model, tmp_path / "stack.onnx") == optimized(plain, tmp_path / "plain.onnx")


def test_large_weights_fold_too(tmp_path):
    plain = from_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,2000] x) => (float[1,3000] y) <float[2000,3000] w>'
        "{ y = MatMul (x, w) }"
    )
    constant = next(plain.constants())
    edit.replace_values(plain, constant, np.sign(constant.values) * (abs(constant.values) > np.std(constant.values)))
    expected = optimized(plain, tmp_path / "plain.onnx")
    weight = WeightValues(constant.values)
    for form in (f for f in FORMS if f.least(weight, 17) is not None):
        model = plain.clone()
        store_as(model, {"w": next(model.constants())}, written(form, weight, "w", "b", 17))
        assert optimized(model, tmp_path / f"{form.name}.onnx") == expected
