from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.storage import interpret
from onnx_compress.compiler.storage.forms.stack import Member
from onnx_compress.compiler.storage.weight import WeightValues
from onnx_compress.passes.encode._names import Bases, StoredNames
from onnx_compress.passes.encode._plan import Planner
from tests.compiler.storage.weights import same

TEXT = '<ir_version: 10, opset_import: ["" : 21]> g (float[N] x) => (float[N] y) { y = Relu (x) }'


def planner(opset: int = 17) -> Planner:
    model = from_text(TEXT)
    return Planner.of(opset, StoredNames(Bases(model), model.graph))


def weights(*shapes: tuple[int, ...], distinct: int = 5) -> list[Member]:
    rng = np.random.default_rng(0)
    made = [(rng.integers(0, distinct, shape) - 1).astype(np.float32) for shape in shapes]
    return [Member(f"w{i}", f"b{i}", WeightValues(values)) for i, values in enumerate(made)]


def check(members: list[Member], plan) -> list[list[str]]:
    """The names that each program computes, after checking their values."""
    for one in plan:
        values = interpret.run(one.program)
        for member in one.members:
            assert same(values[member.name], member.weight.values)
    return [[member.name for member in one.members] for one in plan]


def test_large_weights_stand_alone_in_their_order():
    members = weights((100, 100), (300, 300), (200, 200))
    members = [Member(m.name, m.base, WeightValues(np.repeat(m.weight.values, 4, 1))) for m in members]
    assert check(members, planner(11).plan(members, None)) == [["w0"], ["w1"], ["w2"]]


def test_small_weights_are_decoded_together():
    members = weights(*[(20, 40)] * 4)
    plan = planner().plan(members, None)
    assert check(members, plan) == [["w0", "w1", "w2", "w3"]]
    apart = [planner().plan([member], None)[0] for member in members]
    assert plan[0].program.nbytes() < sum(one.program.nbytes() for one in apart)


def test_a_weight_that_saves_too_little_is_left_out():
    rng = np.random.default_rng(0)
    members = [*weights((20, 40)), Member("dense", "d", WeightValues(rng.standard_normal((20, 40)).astype(np.float32)))]
    assert check(members, planner().plan(members, None)) == [["w0"]]


def test_a_requested_form_is_the_only_one():
    members = weights((40, 40), (50, 40))
    plan = planner(11).plan(members, "codebook")
    assert {one.program.form for one in plan} == {"codebook"}
    assert check(members, plan) == [["w0"], ["w1"]]
    assert planner().plan(weights((40, 40), distinct=1000), "packed") == []


def test_shared_parts_count_once():
    members = weights((60, 60), (60, 61))
    made = planner(11)
    plan = made.plan(members, None)
    assert made.nbytes(plan) < sum(one.program.nbytes() for one in plan)
    assert made.nbytes(plan[:1]) == plan[0].program.nbytes()
