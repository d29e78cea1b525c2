from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.storage import interpret
from onnx_compress.compiler.storage.interpret import Undecodable
from onnx_compress.compiler.storage.program import Program, ProgramConstant, ProgramNode
from tests.compiler.storage.weights import same


@pytest.mark.parametrize(
    "steps",
    [
        [ProgramNode("ConstantOfShape", ("big",), ("w",))],
        [ProgramNode("Tile", ("one", "often"), ("w",))],
        [ProgramNode("Range", ("zero", "huge", "unit"), ("w",))],
        [ProgramNode("ConstantOfShape", ("negative",), ("w",))],
        [ProgramNode("Split", ("one", "often"), ("a", "w"))],
        [ProgramNode("Cast", ("absent",), ("w",))],
        [ProgramNode("Loop", ("one",), ("w",))],
        [ProgramNode("Div", ("unit", "zero"), ("w",))],
    ],
    ids=lambda steps: steps[0].op,
)
def test_limits(steps):
    parts = {
        "big": np.array([1 << 40], np.int64),
        "negative": np.array([-1], np.int64),
        "one": np.ones(1, np.float32),
        "often": np.array([1 << 40], np.int64),
        "zero": np.array(0, np.int64),
        "unit": np.array(1, np.int64),
        "huge": np.array(1 << 40, np.int64),
    }
    program = Program("x", tuple(ProgramConstant(name, array) for name, array in parts.items()), tuple(steps), ("w",))
    with pytest.raises(Undecodable):
        interpret.run(program)


def ran(op: str, *inputs: np.ndarray, outputs: tuple[str, ...] = ("w",), **attrs) -> list[np.ndarray]:
    names = tuple(f"i{place}" for place in range(len(inputs)))
    parts = tuple(ProgramConstant(name, array) for name, array in zip(names, inputs, strict=True))
    step = ProgramNode(op, names, outputs, tuple(attrs.items()))
    return list(interpret.run(Program("x", parts, (step,), outputs)).values())


I64, F32 = np.int64, np.float32


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "expected"),
    [
        ("Cast", [np.array([1, 300], I64)], {"to": 1}, np.array([1, 300], F32)),
        ("Gather", [np.array([5, 7], F32), np.array([[1, 0]], I64)], {}, np.array([[7, 5]], F32)),
        (
            "GatherND",
            [np.arange(8, dtype=F32).reshape(2, 2, 2), np.array([[[1], [0]], [[0], [0]]])],
            {"batch_dims": 1},
            np.array([[[2, 3], [0, 1]], [[4, 5], [4, 5]]], F32),
        ),
        ("Reshape", [np.arange(6), np.array([0, -1])], {}, np.arange(6)[:, None]),
        ("Range", [np.array(1), np.array(6), np.array(2)], {}, np.array([1, 3, 5])),
        ("Div", [np.array([7, 9]), np.array([2])], {}, np.array([3, 4])),
        ("Mod", [np.array([7, 9]), np.array([2])], {}, np.array([1, 1])),
        ("Transpose", [np.arange(6).reshape(2, 3)], {}, np.arange(6).reshape(2, 3).T),
        ("Mul", [np.array([2, 3], F32), np.array(0.5, F32)], {}, np.array([1, 1.5], F32)),
        ("CumSum", [np.array([1, 0, 2]), np.array(0)], {}, np.array([1, 1, 3])),
        ("ConstantOfShape", [np.array([2, 1])], {"value": np.dtype(np.int8)}, np.zeros((2, 1), np.int8)),
        ("ScatterElements", [np.zeros(3, F32), np.array([2]), np.array([9], F32)], {}, np.array([0, 0, 9], F32)),
        ("Tile", [np.array([[1, 2]]), np.array([2, 2])], {}, np.tile([[1, 2]], (2, 2))),
        ("Slice", [np.arange(5), np.array([1]), np.array([3])], {}, np.arange(1, 3)),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_operators(op, inputs, attrs, expected):
    (found,) = ran(op, *inputs, **attrs)
    assert same(found, expected)


def test_split():
    a, b = ran("Split", np.arange(5), np.array([2, 3]), outputs=("a", "b"))
    assert (a.tolist(), b.tolist()) == ([0, 1], [2, 3, 4])


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        ("Gather", [np.zeros(2), np.array([2])], "index is out of range"),
        ("Gather", [np.zeros(2), np.array([-1])], "index is out of range"),
        ("ScatterElements", [np.zeros(2), np.array([2]), np.ones(1)], "index is out of range"),
        ("GatherND", [np.zeros((1, 2, 2)), np.array([[[0]]])], "must be codebooks"),
        ("Mul", [np.zeros(2), np.zeros(2, F32)], "types differ"),
        ("CumSum", [np.zeros((2, 2)), np.array(0)], "must be a vector"),
        ("Mod", [np.array([-1]), np.array([2])], "non-negative"),
        ("Split", [np.arange(5), np.array([2, 2])], "do not add up"),
        ("Reshape", [np.arange(5), np.array([2, 2])], "Reshape: "),
    ],
)
def test_invalid_programs_are_refused(op, inputs, message):
    with pytest.raises(Undecodable, match=message):
        ran(op, *inputs)
