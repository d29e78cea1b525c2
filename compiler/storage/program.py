"""A stored weight as a small program: constants, and nodes that compute one or several tensors from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

SMALL = 16
"""Integer arrays of up to this many elements are written as varints, larger ones as raw data."""


@dataclass(frozen=True, eq=False)
class ProgramConstant:
    """A constant of a program. A shared one is named after its content, so that several programs can use it."""

    name: str
    array: np.ndarray
    is_shared: bool = False


@dataclass(frozen=True)
class ProgramNode:
    """An unnamed node of a program; an attribute is an integer, or a one-element zero tensor given by its dtype."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: tuple[tuple[str, Any], ...] = ()

    def proto(self) -> onnx.NodeProto:
        """The node as it stands in the file."""
        made = onnx.NodeProto(op_type=self.op, input=self.inputs, output=self.outputs)
        for name, value in self.attrs:
            written = numpy_helper.from_array(np.zeros(1, value)) if name == "value" else value
            made.attribute.append(onnx.helper.make_attribute(name, written))
        return made


@dataclass(frozen=True, eq=False)
class Program:
    """Constants (`parts`) and nodes (`steps`) in file order, and the names of the tensors they compute."""

    form: str
    parts: tuple[ProgramConstant, ...]
    steps: tuple[ProgramNode, ...]
    outputs: tuple[str, ...]

    def nbytes(self, known: Mapping[str, Any] | frozenset[str] = frozenset()) -> int:
        """Size in bytes in a model file that already contains the names `known`."""
        parts = sum(framed(tensor(p.name, p.array)) for p in self.parts if p.name not in known)
        return parts + sum(framed(step.proto()) for step in self.steps if step.outputs[0] not in known)

    def shared(self) -> Iterator[str]:
        """The names that other programs may also use: shared constants, and nodes that read nothing else."""
        yield from (part.name for part in self.parts if part.is_shared)
        own = {part.name for part in self.parts if not part.is_shared}
        for step in self.steps:
            if own.isdisjoint(step.inputs):
                yield from step.outputs
            else:
                own.update(step.outputs)

    def renamed(self, names: Mapping[str, str]) -> Program:
        """The program with some of its tensors renamed."""
        steps = tuple(
            ProgramNode(
                s.op, tuple(names.get(n, n) for n in s.inputs), tuple(names.get(n, n) for n in s.outputs), s.attrs
            )
            for s in self.steps
        )
        return Program(self.form, self.parts, steps, tuple(names.get(n, n) for n in self.outputs))


def tensor(name: str, array: np.ndarray) -> onnx.TensorProto:
    """A constant as it stands in the file: a few integers in their typed field, anything else as raw data."""
    if array.dtype in (np.int64, np.int32) and array.size <= SMALL:
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        made = onnx.TensorProto(name=name, dims=array.shape, data_type=kind)
        (made.int64_data if array.dtype == np.int64 else made.int32_data).extend(array.ravel().tolist())
        return made
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def framed(message: Any) -> int:
    """Size in bytes of a message nested in another: its content, the length, and a tag of one byte."""
    size = message.ByteSize()
    return int(size) + 1 + max(1, -(-int(size).bit_length() // 7))


@dataclass
class Builder:
    """Collects a program. `base` is the prefix of names that belong to one weight; `free` makes a name unique.

    `opset` is the model's.
    """

    base: str
    opset: int
    free: Callable[[str], str] = str
    parts: dict[str, ProgramConstant] = field(default_factory=dict)
    steps: dict[str, ProgramNode] = field(default_factory=dict)

    def part(self, suffix: str, array: np.ndarray) -> str:
        """Add a constant of this weight alone."""
        name = self.free(f"{self.base}.{suffix}")
        self.parts[name] = ProgramConstant(name, array)
        return name

    def shared(self, name: str, array: np.ndarray) -> str:
        """Add a constant that all programs share; its name states its content."""
        name = self.free(name)
        self.parts[name] = ProgramConstant(name, array, is_shared=True)
        return name

    def step(self, op: str, *inputs: str, out: str, **attrs: Any) -> str:
        """Add a node; an `out` that starts with a dot is appended to the base, any other is the full name."""
        name = self.free(self.base + out) if out.startswith(".") else out
        self.steps[name] = ProgramNode(op, inputs, (name,), tuple(sorted(attrs.items())))
        return name

    def common(self, op: str, *inputs: str, out: str, **attrs: Any) -> str:
        """Add a node that all programs share; `out` states what it computes."""
        return self.step(op, *inputs, out=self.free(out), **attrs)

    def split(self, source: str, sizes: np.ndarray, names: tuple[str, ...]) -> None:
        """Add a node that splits a vector into pieces."""
        at = self.part("n", sizes)
        self.steps[names[0]] = ProgramNode("Split", (source, at), names)

    def shape(self, *dims: int) -> str:
        """Add a shared int64 vector."""
        return self.shared("s" + "x".join(map(str, dims)), np.array(dims, np.int64))

    def program(self, form: str, *outputs: str) -> Program:
        """The collected program."""
        return Program(form, tuple(self.parts.values()), tuple(self.steps.values()), outputs)


def abbreviated(name: str) -> str:
    """A short base for names that derive from `name`: the first letter of each of its words, and its digits.

    `layer1.0.conv1.weight` is `l10c1w`, `onnx::Conv_193` is `oC193`.
    """
    words = re.findall(r"[A-Za-z]+|\d+", name)
    return "".join(word if word.isdigit() else word[0] for word in words) or "w"
