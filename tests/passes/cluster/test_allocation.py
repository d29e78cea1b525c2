from __future__ import annotations

import numpy as np

from onnx_compress.compiler.analysis.weight_readers import find_weights
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.cluster import _allocation
from onnx_compress.passes.cluster._allocation import PlannedBooks, allocated
from onnx_compress.passes.cluster._books import Books
from onnx_compress.passes.cluster.cluster_weights import ClusterWeights
from tests.contexts import context

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,32] x) => (float[N,32] y) <float[32,64] a, float[64,32] b, float[32,64] c, float[64,32] d>
{ ["a"] h = MatMul (x, a) r = Relu (h) ["b"] k = MatMul (r, b)
  ["c"] l = MatMul (x, c) s = Relu (l) ["d"] m = MatMul (s, d) y = Add (k, m) }"""


def prepared(factor: float):
    """Two branches, of which the second adds `factor` times as much; a plan of 4 bits for each weight."""
    model = from_text(TEXT)
    last = next(node for node in model.graph.nodes if node.name == "d")
    edit.set_weight(model, last, 1, np.asarray(last.inputs[1].values * np.float32(factor)))
    data = {"x": np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)}
    item = ClusterWeights(bits=4)
    ctx = context(item, model, data=data)
    found = list(find_weights(model, ctx.is_excluded, ctx.skip))
    return model, [PlannedBooks(weight, Books(None, "density"), 4) for weight in found], ctx


def test_bits_go_to_the_weights_that_matter_in_as_many_bytes():
    model, plan, ctx = prepared(1e-3)
    found = {one.weight.constant.name: one.bits for one in allocated(model, plan, ctx)}
    assert min(found["a"], found["b"]) > max(found["c"], found["d"])
    spent = sum(one.nbytes(one.bits) for one in allocated(model, plan, ctx))
    assert spent <= sum(one.nbytes(4) for one in plan)


def test_equal_weights_get_equal_bits():
    model, plan, ctx = prepared(1.0)
    assert {one.bits for one in allocated(model, plan, ctx)} <= {3, 4, 5}


def test_losses_are_measured_once(monkeypatch):
    model, plan, ctx = prepared(0.1)
    first = [one.bits for one in allocated(model, plan, ctx)]
    monkeypatch.setattr(_allocation, "measure", None)
    assert [one.bits for one in allocated(model, plan, ctx)] == first


def test_the_model_stays():
    model, plan, ctx = prepared(0.1)
    before = {c.name: c.values.copy() for c in model.constants()}
    allocated(model, plan, ctx)
    assert all(np.array_equal(c.values, before[c.name]) for c in model.constants())
