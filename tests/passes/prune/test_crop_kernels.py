"""Cropped kernels compute the same numbers for every geometry."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from onnx_compress.compiler.ir.model import Model
from onnx_compress.passes.prune._crops import crop, zero_borders
from onnx_compress.passes.prune.crop_kernels import CropKernels
from tests.behaviour import run
from tests.contexts import context

CLOSE = 1e-5


@st.composite
def geometries(draw):
    """A kernel of 1 to 3 spatial axes with zero borders, and the attributes of its layer."""
    rank = draw(st.integers(1, 3))
    axis = st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(0, 2))  # zeros, taps, zeros
    borders = [draw(axis) for _ in range(rank)]
    return {
        "borders": borders,
        "pads": [draw(st.integers(0, 4)) for _ in range(2 * rank)],
        "dilations": [draw(st.integers(1, 2)) for _ in range(rank)],
        "strides": [draw(st.integers(1, 2)) for _ in range(rank)],
        "group": draw(st.sampled_from([1, 2])),
        "filters": draw(st.sampled_from([2, 24])),
    }


def layer(op, geometry):
    rng = np.random.default_rng(0)
    shape = [a + n + b for a, n, b in geometry["borders"]]
    group, filters = geometry["group"], geometry["filters"]
    channels = (filters, 2 // group) if op == "Conv" else (2, filters // group)
    inner = rng.uniform(1, 2, (*channels, *(n for _, n, _ in geometry["borders"])))
    kernel = np.pad(inner, [(0, 0), (0, 0), *((a, b) for a, _, b in geometry["borders"])]).astype(np.float32)
    attrs = {key: geometry[key] for key in ("pads", "dilations", "strides", "group")}
    node = helper.make_node(op, ["x", "w"], ["y"], **attrs)
    sizes = [d * (k - 1) + 2 + max(0, 9 - d * k) for k, d in zip(shape, geometry["dilations"], strict=True)]
    if op == "ConvTranspose":  # the results must not be cropped to nothing
        sizes = [size + 8 for size in sizes]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 2, *sizes])],
        [helper.make_tensor_value_info("y", 1, [None] * (2 + len(sizes)))],
        [numpy_helper.from_array(kernel, "w")],
    )
    return Model.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


@settings(max_examples=60)
@given(geometry=geometries(), op=st.sampled_from(["Conv", "ConvTranspose"]))
def test_the_numbers_stay(geometry, op):
    model = layer(op, geometry)
    before = model.clone()
    ctx = context(CropKernels(), model, before)
    changed = CropKernels().run(model, ctx)
    onnx.checker.check_model(model.proto(), full_check=True)
    (shape,) = (c.shape for c in model.constants() if c.name == "w")
    is_whole = list(shape[2:]) == [n for _, n, _ in geometry["borders"]]
    assert changed or is_whole or ctx.skips
    assert is_whole or ctx.skips
    x = np.random.default_rng(1).standard_normal(model.inputs()[0].shape).astype(np.float32)
    (expected,), (got,) = run(before, {"x": x}), run(model, {"x": x})
    assert expected.shape == got.shape
    np.testing.assert_allclose(got, expected, atol=CLOSE * np.abs(expected).max())


def test_borders_are_those_of_all_kernels():
    kernels = np.zeros((2, 1, 4, 5))
    kernels[0, 0, 1, 2] = kernels[1, 0, 2, 3] = 1
    assert zero_borders(kernels) == ((1, 2), (1, 1))


@pytest.mark.parametrize(
    ("pads", "slices", "lead", "left", "front"),
    [((4, 4), False, 2, 0, 0), ((3, 3), False, 1, 1, 0), ((3, 3), True, 2, 0, 1), ((0, 0), False, 0, 0, 0)],
)
def test_padding_pays_for_taps(pads, slices, lead, left, front):
    found = crop(((2,), (0,)), pads, (2,), slices=slices)
    assert (found.lead, found.pads, found.front) == ((lead,), (left, pads[1]), (front,))
    assert found.back == (0,)
