from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.quantize._float16.casts import FLOAT, HALF, cast_for, constant_for, keep_output, store_half
from tests.behaviour import feeds_for, run

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,4] x) => (float[N,4] y, float[N,4] z) <float[4] k>
{ h = Relu (x) y = Mul (h, k) z = Add (h, k) }"""


def prepared():
    model = from_text(TEXT)
    return model, next(model.constants()), feeds_for(model)


def test_a_stored_weight_is_half_and_read_as_before():
    model, constant, feeds = prepared()
    before = run(model, feeds)
    store_half(model, constant, model.graph)
    edit.sweep(model)
    (stored,) = model.constants()
    assert stored.stored.dtype == np.float16
    cast = model.graph.nodes[0]
    assert (cast.op, cast.outputs[0].name, cast.attrs["to"]) == ("Cast", "k", FLOAT)
    assert [len(node.inputs) for node in model.graph.nodes[1:]] == [1, 2, 2]
    for old, new in zip(before, run(model, feeds), strict=True):
        np.testing.assert_allclose(new, old, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("all_readers", [True, False])
def test_a_constant_is_copied_only_for_other_readers(all_readers):
    model, constant, _ = prepared()
    _, mul, add = model.graph.nodes
    constant_for(model, constant, [(mul, 1), (add, 1)] if all_readers else [(mul, 1)])
    assert mul.inputs[1].stored.dtype == np.float16
    assert add.inputs[1].stored.dtype == (np.float16 if all_readers else np.float32)
    assert len(list(model.constants())) == (1 if all_readers else 2)


@pytest.mark.parametrize(("name", "place"), [("h", 1), ("x", 0)])
def test_a_cast_stands_behind_the_producer_or_first(name, place):
    model, _, _ = prepared()
    relu, mul, add = model.graph.nodes
    tensor = relu.outputs[0] if name == "h" else model.inputs()[0]
    readers = [(mul, 0), (add, 0)] if name == "h" else [(relu, 0)]
    cast_for(model, tensor, readers, HALF)
    cast = model.graph.nodes[place]
    assert (cast.op, cast.attrs["to"], cast.inputs[0]) == ("Cast", HALF, tensor)
    assert all(node.inputs[slot] is cast.outputs[0] for node, slot in readers)


def test_an_output_keeps_its_name_and_type():
    model, _, _ = prepared()
    mul = model.graph.nodes[1]
    raw = keep_output(model, mul.outputs[0])
    assert mul.outputs[0] is raw
    assert raw.dtype in (HALF, np.float16)
    assert [out.name for out in model.outputs()] == ["y", "z"]
    assert model.outputs()[0].inputs[0].attrs["to"] == FLOAT
