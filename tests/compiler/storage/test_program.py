from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnx_compress.compiler.storage.program import Builder, ProgramNode, abbreviated, framed, tensor
from tests.compiler.storage.weights import model_of


def built() -> Builder:
    build = Builder("b", 17)
    shape = build.shape(2, 3)
    zeros = build.common("ConstantOfShape", shape, out="z2x3")
    rows = build.step("Add", build.part("v", np.ones((2, 3), np.float32)), zeros, out=".r")
    build.step("Neg", rows, out="w")
    return build


def test_a_builder_collects_parts_and_steps_in_order():
    program = built().program("f", "w")
    assert [part.name for part in program.parts] == ["s2x3", "b.v"]
    assert [step.outputs for step in program.steps] == [("z2x3",), ("b.r",), ("w",)]
    assert program.outputs == ("w",)
    assert list(program.shared()) == ["s2x3", "z2x3"], "the sum reads a constant of its own"


def test_names_are_made_unique():
    build = Builder("b", 17, free=lambda name: f"{name}_1")
    assert build.part("c", np.zeros(1)) == "b.c_1"
    assert build.step("Neg", "x", out=".n") == "b.n_1"
    assert build.step("Neg", "x", out="w") == "w", "the weight's own name stays"


def test_the_size_is_that_in_a_file_and_what_is_there_costs_nothing():
    program = built().program("f", "w")
    with_it, without = model_of(program, 17).graph, onnx.GraphProto(name="g")
    without.output.extend(with_it.output)
    assert program.nbytes() == with_it.ByteSize() - without.ByteSize()
    shared = frozenset(program.shared())
    saved = [with_it.node[0], next(t for t in with_it.initializer if t.name == "s2x3")]
    assert program.nbytes(shared) == program.nbytes() - sum(map(framed, saved))


def test_renaming_leaves_constants():
    program = built().program("f", "w").renamed({"w": "v", "b.r": "r", "b.v": "other"})
    assert program.outputs == ("v",)
    assert program.steps[1].inputs == ("other", "z2x3")
    assert program.steps[2] == ProgramNode("Neg", ("r",), ("v",))
    assert [part.name for part in program.parts] == ["s2x3", "b.v"]


def test_a_node_with_a_value_attribute():
    made = ProgramNode("ConstantOfShape", ("s",), ("z",), (("value", np.dtype(np.float16)),)).proto()
    assert numpy_helper.to_array(made.attribute[0].t).dtype == np.float16


@pytest.mark.parametrize("array", [np.arange(16), np.arange(17), np.array(3, np.int32), np.ones((2, 2), np.float16)])
def test_tensors_come_back_and_few_integers_are_typed(array):
    made = tensor("t", array)
    back = numpy_helper.to_array(made)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)
    assert made.HasField("raw_data") == (array.dtype.kind == "f" or array.size > 16)


def test_a_frame_is_a_tag_and_a_length():
    for size in (1, 127, 128, 20_000):
        message = onnx.TensorProto(name="x" * size)
        assert framed(message) == onnx.GraphProto(initializer=[message]).ByteSize()


@pytest.mark.parametrize(
    ("name", "short"),
    [("layer1.0.conv1.weight", "l10c1w"), ("onnx::Conv_193", "oC193"), ("", "w"), ("::", "w"), ("7", "7")],
)
def test_names_are_abbreviated(name, short):
    assert abbreviated(name) == short
