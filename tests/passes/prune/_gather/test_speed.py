from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.ir.weights import input_constant, input_value
from onnx_compress.passes.prune._gather.speed import Shape, paying
from tests.behaviour import run
from tests.contexts import FakeJudge, by_name

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'


@pytest.mark.parametrize(
    ("source", "conv"),
    [
        ("float[1,8,9,9] x", "float[4,8,3,3] w> { y = Conv <pads = [0,1,0,1], strides = [2,1]> (x, w) }"),
        ("float[2,8,9] x", "float[4,8,3] w> { y = Conv <dilations = [2]> (x, w) }"),
        ("float[1,8,5,5] x", 'float[4,8,3,3] w> { y = Conv <auto_pad = "SAME_UPPER"> (x, w) }'),
        ("float16[1,8,5,5] x", "float16[4,8,3,3] w> { y = Conv (x, w) }"),
    ],
)
def test_the_place_that_is_timed_has_the_layers_shape(source, conv):
    element = source.partition("[")[0]
    model = from_text(HEAD + f"g ({source}) => ({element} y) <{conv}")
    node = next(model.nodes())
    sizes = tuple(model.inputs()[0].shape)
    shape = Shape.of(node, input_constant(node, 1), sizes)
    x = np.zeros(sizes, input_value(node, 1).dtype)
    (expected,) = run(model, {"x": x})
    for kept in (None, 3):
        place = shape.place(kept)
        onnx.checker.check_model(place.proto(), full_check=True)
        got, other = run(place, {"x": x})
        assert got.shape == expected.shape
        assert other.shape == sizes
        assert sum(node.op == "Gather" for node in place.nodes()) == (kept is not None)
        assert Cost.of(place).parameters - Cost.of(shape.place(1)).parameters == 4 * ((kept or 8) - 1) * 3 ** (
            x.ndim - 2
        )


def test_numbers_of_channels_pay_that_are_five_percent_faster():
    model = from_text(HEAD + "g (float[1,8,5,5] x) => (float[1,4,5,5] y) <float[4,8,1,1] w> { y = Conv (x, w) }")
    node = next(model.nodes())
    shape = Shape.of(node, input_constant(node, 1), (1, 8, 5, 5))
    judge = FakeJudge(model, takes=by_name(**{"none": 2.0, "6": 1.95, "4": 1.9, "2": 1.0}))
    assert paying(shape, [6, 4, 2], judge) == ([4, 2], 0.5)
    assert [feeds["x"].shape for feeds in judge.timed] == [(1, 8, 5, 5)]
    assert paying(shape, [], judge) == ([], 1.0)
