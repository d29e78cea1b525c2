from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.files.lower import lowered, program_names, stored_tensors
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.store import store_as, store_dense
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.storage.forms.stack import Member, stacked
from onnx_compress.compiler.storage.weight import WeightValues
from tests.compiler.ir.stored_weights import TEXT, stored


def test_shared_parts_of_programs_are_written_once():
    names = [tensor.name for tensor in stored().proto().graph.initializer]
    assert len(names) == len(set(names))
    assert model_of_one().file_bytes() * 2 > stored().file_bytes() + 200


def model_of_one() -> Model:
    model = stored()
    store_dense(model, next(model.constants()))
    edit.replace_values(model, next(model.constants()), np.zeros((1, 1), np.float32))
    return model


def test_parts_come_before_the_nodes_that_decode_them():
    model = stored()
    made = lowered(model.graph)
    known = {constant.name for constant in made.constants}
    for node in made.nodes:
        assert set(node.input) <= known
        known.update(node.output)
    assert {"a", "b"} <= known
    assert [(constant.name, tensor.output) for constant, tensor in stored_tensors(model.graph)] == [
        ("a", "a"),
        ("b", "b"),
    ]


def test_a_weight_that_changed_is_written_plain():
    model = stored()
    edit.replace_values(model, next(c for c in model.constants() if c.name == "a"), np.ones((96, 96), np.float32))
    made = lowered(model.graph)
    assert "a" in {constant.name for constant in made.constants}
    assert {name for node in made.nodes for name in node.output} >= {"b"}
    assert [constant.name for constant, _ in stored_tensors(model.graph)] == ["b"]


def test_a_stack_of_which_one_weight_changed_is_written_plain():
    model = from_text(TEXT)
    constants = {c.name: c for c in model.constants()}
    rng = np.random.default_rng(0)
    for constant in constants.values():
        edit.replace_values(model, constant, rng.integers(0, 5, (96, 96)).astype(np.float32))
    members = [Member(name, name * 2, WeightValues(c.values)) for name, c in constants.items()]
    store_as(model, constants, stacked(members, "packed", 17))
    assert [c.name for c, _ in stored_tensors(model.graph)] == ["a", "b"]
    edit.replace_values(model, constants["a"], np.ones((96, 96), np.float32))
    made = lowered(model.graph)
    assert {c.name for c in made.constants} == {"a", "b"}
    assert made.nodes == []


def test_every_name_of_a_program():
    model = stored()
    program = next(iter(stored_tensors(model.graph)))[1].encoding.program
    names = set(program_names(program))
    assert {part.name for part in program.parts} <= names
    assert {name for step in program.steps for name in step.outputs} <= names
