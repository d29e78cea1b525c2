"""Symbolic shapes against numbers: whatever is claimed must hold for every size of the dynamic dimensions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.session import create
from onnx_compress.passes.simplify._facts import Facts
from onnx_compress.passes.simplify._fold_shapes import reshape_target
from onnx_compress.passes.simplify._known_values import known_values

SIZES = {"N": 3, "H": 5, "W": 7}
DIMS = ("N", 8, "H", "W")


def program(draw):
    """Nodes that compute integer vectors from the shape of x, each from those before."""
    nodes, weights, vectors = [helper.make_node("Shape", ["x"], ["v0"])], [], {"v0": 4}

    def constant(values):
        weights.append(numpy_helper.from_array(np.asarray(values, np.int64), f"k{len(weights)}"))
        return weights[-1].name

    for i in range(1, draw(st.integers(2, 7))):
        source, out = draw(st.sampled_from(sorted(vectors))), f"v{i}"
        length = vectors[source]
        op = draw(st.sampled_from(["Gather", "Slice", "Concat", "Add", "Sub", "Mul", "Div", "Where", "Cast", "Shape"]))
        if op == "Gather":
            picked = draw(st.lists(st.integers(-length, length - 1), min_size=1, max_size=3))
            nodes.append(helper.make_node(op, [source, constant(picked)], [out]))
            vectors[out] = len(picked)
        elif op == "Slice":
            start = draw(st.integers(0, length - 1))
            bounds = [constant([start]), constant([length + 3]), constant([0])]
            nodes.append(helper.make_node(op, [source, *bounds], [out]))
            vectors[out] = length - start
        elif op == "Concat":
            nodes.append(helper.make_node(op, [source, "v0"], [out], axis=0))
            vectors[out] = length + 4
        elif op == "Where":
            equal = helper.make_node("Equal", [source, constant([draw(st.sampled_from([-1, 1, 3, 8]))])], [f"e{i}"])
            nodes += [equal, helper.make_node(op, [f"e{i}", constant([1] * length), source], [out])]
            vectors[out] = length
        elif op == "Cast":
            nodes.append(helper.make_node(op, [source], [f"c{i}"], to=TensorProto.INT32))
            nodes.append(helper.make_node(op, [f"c{i}"], [out], to=TensorProto.INT64))
            vectors[out] = length
        elif op == "Shape":
            start = draw(st.integers(-4, 3))
            nodes.append(helper.make_node(op, ["x"], [out], start=start))
            vectors[out] = len(range(4)[start:])
        else:
            nodes.append(
                helper.make_node(
                    op,
                    [
                        source,
                        constant(
                            [draw(st.sampled_from([0, 1, 2, -3]) if op != "Div" else st.sampled_from([1, 2, -3]))]
                        ),
                    ],
                    [out],
                )
            )
            vectors[out] = length
    return nodes, weights, list(vectors)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_known_of_a_value_is_true(data):
    nodes, weights, outputs = program(data.draw)
    info = [helper.make_tensor_value_info("x", TensorProto.FLOAT, DIMS)]
    made = [helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in outputs]
    graph = helper.make_graph(nodes, "g", info, made, weights)
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
@settings(max_examples=200, deadline=None)
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
        assert rest, "−1 beside a dimension of length 0"
        dims[dims.index(-1)] = math.prod(shape) // rest
    return dims


@pytest.mark.parametrize(
    ("shape", "values", "target"),
    [
        (("N", 4, 8), ("N", 32), [0, 32]),
        (("N", 4, 8), (None, 8), [-1, 8]),
        (("N", "T", 32), ("N", "T", 4, 8), [0, 0, 4, 8]),
        (("N", 4, "T"), ("N", "T", 4), None),  # −1 for T beside N, which may be 0
        (("N", "T"), (None, None), None),
        (None, ("N", 8), [-1, 8]),
        (("N", 4), ("N", -1), [0, -1]),  # the −1 was there before: no worse than it was
    ],
)
def test_targets(shape, values, target):
    assert reshape_target(shape, values) == target
