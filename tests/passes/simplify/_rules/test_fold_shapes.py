"""Symbolic shapes, compared with numbers: every claim must hold for all sizes of the dynamic dimensions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.session import create
from onnx_compress.passes.simplify._analysis.facts import Facts
from onnx_compress.passes.simplify._analysis.known_values import known_values
from onnx_compress.passes.simplify._rules.fold_shapes import reshape_target

SIZES = {"N": 3, "H": 5, "W": 7}
DIMS = ("N", 8, "H", "W")


class Program:
    """Nodes that compute integer vectors from the shape of x, each from an earlier one; `lengths` are their lengths."""

    def __init__(self):
        self.nodes = [helper.make_node("Shape", ["x"], ["v0"])]
        self.weights = []
        self.lengths = {"v0": 4}

    def constant(self, values):
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.int64), f"k{len(self.weights)}"))
        return self.weights[-1].name

    def node(self, op, inputs, out, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [out], **attributes))

    def grow(self, draw, out):
        source = draw(st.sampled_from(sorted(self.lengths)))
        length = self.lengths[source]
        op = draw(st.sampled_from(["Gather", "Slice", "Concat", "Add", "Sub", "Mul", "Div", "Where", "Cast", "Shape"]))
        if op == "Gather":
            picked = draw(st.lists(st.integers(-length, length - 1), min_size=1, max_size=3))
            self.node(op, [source, self.constant(picked)], out)
            length = len(picked)
        elif op == "Slice":
            start = draw(st.integers(0, length - 1))
            self.node(op, [source, *(self.constant([bound]) for bound in (start, length + 3, 0))], out)
            length -= start
        elif op == "Concat":
            self.node(op, [source, "v0"], out, axis=0)
            length += 4
        elif op == "Where":
            self.node("Equal", [source, self.constant([draw(st.sampled_from([-1, 1, 3, 8]))])], f"{out}.equal")
            self.node(op, [f"{out}.equal", self.constant([1] * length), source], out)
        elif op == "Cast":
            self.node(op, [source], f"{out}.narrow", to=TensorProto.INT32)
            self.node(op, [f"{out}.narrow"], out, to=TensorProto.INT64)
        elif op == "Shape":
            start = draw(st.integers(-4, 3))
            self.node(op, ["x"], out, start=start)
            length = len(range(4)[start:])
        else:
            operand = draw(st.sampled_from([1, 2, -3] if op == "Div" else [0, 1, 2, -3]))
            self.node(op, [source, self.constant([operand])], out)
        self.lengths[out] = length


@given(st.data())
@settings(max_examples=60)
def test_known_elements_of_a_value_are_true(data):
    program = Program()
    for i in range(data.draw(st.integers(1, 6))):
        program.grow(data.draw, f"v{i + 1}")
    info = [helper.make_tensor_value_info("x", TensorProto.FLOAT, DIMS)]
    made = [helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in program.lengths]
    graph = helper.make_graph(program.nodes, "g", info, made, program.weights)
    model = Model.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    known = {tensor.name: value for tensor, value in known_values(model, Facts(model)).items()}
    x = np.zeros([SIZES.get(dim, dim) for dim in DIMS], np.float32)
    for name, array in create(model, optimize=False).run({"x": x}).items():
        assert name in known
        assert known[name].is_scalar == (array.ndim == 0)
        claimed = [SIZES.get(value, value) for value in known[name].values]
        assert [got for got, is_known in zip(array.tolist(), claimed, strict=True) if is_known is not None] == [
            value for value in claimed if value is not None
        ]


@given(st.lists(st.sampled_from(["N", "H", 1, 2, 4]), min_size=1, max_size=5), st.data())
@settings(max_examples=200)
def test_a_constant_target_reshapes_like_the_computed_one(shape, data):
    values = data.draw(st.permutations(shape))
    cut = data.draw(st.integers(0, len(values)))
    merged = math.prod(SIZES.get(value, value) for value in values[cut:])
    wanted = [*values[:cut], None if any(isinstance(v, str) for v in values[cut:]) else merged]
    target = reshape_target(tuple(shape), tuple(wanted))
    for sizes in (SIZES, {"N": 1, "H": 9}, {"N": 0, "H": 2}):
        actual = [sizes.get(dim, dim) for dim in shape]
        product = math.prod(sizes.get(value, value) for value in values[cut:])
        expected = [*(sizes.get(value, value) for value in values[:cut]), product]
        if target is not None:
            assert reshaped(actual, target) == expected


def reshaped(shape, target):
    """ONNX's Reshape: 0 copies, one −1 is inferred, which needs the others' product not to be 0."""
    dims = [shape[axis] if value == 0 else value for axis, value in enumerate(target)]
    if -1 in dims:
        rest = math.prod(dim for dim in dims if dim != -1)
        assert rest, "−1 next to a dimension of length 0"
        dims[dims.index(-1)] = math.prod(shape) // rest
    return dims


@pytest.mark.parametrize(
    ("shape", "values", "target"),
    [
        (("N", 4, 8), ("N", 32), [0, 32]),
        (("N", 4, 8), (None, 8), [-1, 8]),
        (("N", "T", 32), ("N", "T", 4, 8), [0, 0, 4, 8]),
        (("N", 4, "T"), ("N", "T", 4), None),  # −1 for T next to N, which may be 0
        (("N", "T"), (None, None), None),
        (None, ("N", 8), [-1, 8]),
        (("N", 4), ("N", -1), [0, -1]),  # the −1 was already there
    ],
)
def test_targets(shape, values, target):
    assert reshape_target(shape, values) == target
