"""Stored weights are recognized exactly as written; any other nodes stay nodes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from onnx import helper, numpy_helper

from onnx_compress.compiler.ir.encoded import EncodedTensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.storage.forms import stack
from onnx_compress.compiler.storage.forms.choice import FORMS, written
from onnx_compress.compiler.storage.forms.stack import Member
from onnx_compress.compiler.storage.program import Program
from onnx_compress.compiler.storage.structure import Structure, positive_zero
from onnx_compress.compiler.storage.weight import WeightValues
from tests.compiler.storage.weights import model_of, same, weights


def read_by_nodes(program: Program, opset: int = 21) -> onnx.ModelProto:
    """A model in which a node reads each output of the program."""
    model = model_of(program, opset)
    del model.graph.output[:]
    for name in program.outputs:
        model.graph.node.append(helper.make_node("Neg", [name], [f"y.{name}"]))
        model.graph.output.append(helper.make_empty_tensor_value_info(f"y.{name}"))
    return model


def bytes_of(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString(deterministic=True)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@given(values=weights())
@settings(max_examples=40)
def test_a_file_is_the_same_after_load_and_save(form, values):
    weight = WeightValues(values)
    if form.least(weight, 21) is None:
        return
    file = read_by_nodes(written(form, weight, "w", "b", 21))
    model = Model.from_proto(file)
    assert [node.op for node in model.nodes()] == ["Neg"]
    constant = next(model.constants())
    assert constant.stored.form == form.name
    assert same(constant.values, positive_zero(values))
    assert bytes_of(model.proto()) == bytes_of(file)
    assert bytes_of(model.clone().proto()) == bytes_of(file)


def test_a_scaled_weight_is_recognized():
    scale = np.full((16, 1), 0.3, np.float32)
    values = (np.arange(256).reshape(16, 16) % 100).astype(np.float32) * scale
    form = next(form for form in FORMS if form.name == "scaled")
    file = read_by_nodes(written(form, WeightValues(values, Structure(scale=scale)), "w", "b", 21))
    model = Model.from_proto(file)
    assert next(model.constants()).stored.form == "scaled"
    assert bytes_of(model.proto()) == bytes_of(file)


def members(count: int = 3) -> list[Member]:
    rng = np.random.default_rng(0)
    arrays = [np.where(rng.random((8, 9 + i)) < 0.3, np.float32(i + 1), 0) for i in range(count)]
    return [Member(f"w{i}", f"b{i}", WeightValues(array.astype(np.float32))) for i, array in enumerate(arrays)]


@pytest.mark.parametrize("form", stack.FORMS)
def test_a_stack_is_recognized(form):
    file = read_by_nodes(stack.stacked(members(), form, 13), 13)
    model = Model.from_proto(file)
    assert [c.stored.form for c in model.constants()] == [form] * 3
    assert bytes_of(model.proto()) == bytes_of(file)


def test_programs_that_share_a_table_are_recognized():
    rng = np.random.default_rng(0)
    form = next(form for form in FORMS if form.name == "packed")
    programs = [
        written(form, WeightValues(rng.integers(0, 9, (8, 9 + i)).astype(np.float32)), f"w{i}", f"b{i}", 13)
        for i in range(2)
    ]
    first, second = (read_by_nodes(program, 13) for program in programs)
    known = {tensor.name for tensor in first.graph.initializer} | {o for n in first.graph.node for o in n.output}
    first.graph.initializer.extend(t for t in second.graph.initializer if t.name not in known)
    first.graph.node.extend(n for n in second.graph.node if n.output[0] not in known)
    first.graph.output.extend(second.graph.output)
    model = Model.from_proto(first)
    assert [node.op for node in model.nodes()] == ["Neg", "Neg"]
    again = Model.from_proto(model.proto())
    assert bytes_of(again.proto()) == bytes_of(model.proto())
    assert len(model.proto().graph.node) == len(first.graph.node)


def codebook_file() -> onnx.ModelProto:
    form = next(form for form in FORMS if form.name == "codebook")
    values = (np.arange(400).reshape(20, 20) % 50).astype(np.float32)
    return read_by_nodes(written(form, WeightValues(values), "w", "b", 21))


def _named(file):
    file.graph.node[0].name = "cast"


def _read_twice(file):
    file.graph.node.append(helper.make_node("Neg", ["b.c"], ["z"]))
    file.graph.output.append(helper.make_empty_tensor_value_info("z"))


def _inner_value_is_an_output(file):
    file.graph.output.append(helper.make_empty_tensor_value_info(file.graph.node[0].output[0]))


def _part_is_an_input(file):
    file.graph.input.append(helper.make_tensor_value_info("b.c", 1, [50]))


def _called_otherwise(file):
    file.graph.initializer[0].name = file.graph.node[1].input[0] = "codebook"


def _another_axis(file):
    file.graph.node[1].attribute.append(helper.make_attribute("axis", 0))


def _another_domain(file):
    file.graph.node[0].domain = "com.example"
    file.opset_import.append(helper.make_opsetid("com.example", 1))


def _index_out_of_range(file):
    indices = next(t for t in file.graph.initializer if t.name == "b.i")
    values = numpy_helper.to_array(indices).copy()
    values[0, 0] = 50
    indices.CopyFrom(numpy_helper.from_array(values, "b.i"))


def _documented(file):
    file.graph.node[0].doc_string = "somebody wrote this"


CHANGES = [
    _named, _read_twice, _inner_value_is_an_output, _part_is_an_input, _called_otherwise, _another_axis,
    _another_domain, _index_out_of_range, _documented,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_anything_else_stays_unchanged(change):
    file = codebook_file()
    assert isinstance(next(Model.from_proto(file).constants()).stored, EncodedTensor)
    change(file)
    model = Model.from_proto(file)
    assert not any(isinstance(constant.stored, EncodedTensor) for constant in model.constants())
    assert bytes_of(model.proto()) == bytes_of(file)


def test_a_stack_with_a_piece_read_by_another_node_stays():
    file = read_by_nodes(stack.stacked(members(), "packed", 13), 13)
    split = next(node for node in file.graph.node if node.op_type == "Split")
    file.graph.node.append(helper.make_node("Neg", [split.output[1]], ["z"]))
    file.graph.output.append(helper.make_empty_tensor_value_info("z"))
    model = Model.from_proto(file)
    assert not any(isinstance(constant.stored, EncodedTensor) for constant in model.constants())


def test_an_exponential_expression_is_left_alone():
    names = ["b.c", *(f"v{i}" for i in range(60))]
    nodes = [helper.make_node("Mul", [a, a], [b]) for a, b in pairwise(names)]
    output = helper.make_tensor_value_info(names[-1], 1, [2])
    constant = numpy_helper.from_array(np.ones(2, np.float32), "b.c")
    graph = helper.make_graph([*nodes, helper.make_node("Neg", [names[-1]], ["y"])], "g", [], [output], [constant])
    model = Model.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    assert sum(1 for _ in model.nodes()) == 61
