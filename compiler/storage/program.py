"""A stored weight as a small program: constants, and nodes that turn them into one or several tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

SMALL = 16
"""Whole numbers up to so many are written one by one, in as few bytes as each takes; more of them raw."""


@dataclass(frozen=True, eq=False)
class ProgramConstant:
    """A constant of a program. A shared one is named after what it holds, so that programs can have it together."""

    name: str
    array: np.ndarray
    is_shared: bool = False


@dataclass(frozen=True)
class ProgramNode:
    """A node of a program, without a name; `attrs` are whole numbers, or a tensor of one zero by its type."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: tuple[tuple[str, Any], ...] = ()

    def proto(self) -> onnx.NodeProto:
        """The node as it is written."""
        made = onnx.NodeProto(op_type=self.op, input=self.inputs, output=self.outputs)
        for name, value in self.attrs:
            written = numpy_helper.from_array(np.zeros(1, value)) if name == "value" else value
            made.attribute.append(onnx.helper.make_attribute(name, written))
        return made


@dataclass(frozen=True, eq=False)
class Program:
    """Parts and steps, in the order in which they are written, and the tensors that come out."""

    form: str
    parts: tuple[ProgramConstant, ...]
    steps: tuple[ProgramNode, ...]
    outputs: tuple[str, ...]

    def nbytes(self, known: Mapping[str, Any] | frozenset[str] = frozenset()) -> int:
        """Bytes that it takes in a model file in which the names `known` are written already."""
        parts = sum(framed(tensor(p.name, p.array)) for p in self.parts if p.name not in known)
        return parts + sum(framed(step.proto()) for step in self.steps if step.outputs[0] not in known)

    def shared(self) -> Iterator[str]:
        """The names that other programs may use too."""
        yield from (part.name for part in self.parts if part.is_shared)
        own = {part.name for part in self.parts if not part.is_shared}
        for step in self.steps:
            if own.isdisjoint(step.inputs):
                yield from step.outputs
            else:
                own.update(step.outputs)

    def renamed(self, names: Mapping[str, str]) -> Program:
        """The same with other names for some of its tensors."""
        steps = tuple(
            ProgramNode(
                s.op, tuple(names.get(n, n) for n in s.inputs), tuple(names.get(n, n) for n in s.outputs), s.attrs
            )
            for s in self.steps
        )
        return Program(self.form, self.parts, steps, tuple(names.get(n, n) for n in self.outputs))


def tensor(name: str, array: np.ndarray) -> onnx.TensorProto:
    """A part as it is written: a few whole numbers in the field for their type, all else raw."""
    if array.dtype in (np.int64, np.int32) and array.size <= SMALL:
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        made = onnx.TensorProto(name=name, dims=array.shape, data_type=kind)
        (made.int64_data if array.dtype == np.int64 else made.int32_data).extend(array.ravel().tolist())
        return made
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def framed(message: Any) -> int:
    """Bytes of a message inside another: its own, their number, and a tag of one byte."""
    size = message.ByteSize()
    return int(size) + 1 + max(1, -(-int(size).bit_length() // 7))


@dataclass
class Builder:
    """Collects a program. `base` starts the names of what belongs to one weight, `free` makes a name unused.

    `opset` is that of the model.
    """

    base: str
    opset: int
    free: Callable[[str], str] = str
    parts: dict[str, ProgramConstant] = field(default_factory=dict)
    steps: dict[str, ProgramNode] = field(default_factory=dict)

    def part(self, suffix: str, array: np.ndarray) -> str:
        """A constant of this weight alone."""
        name = self.free(f"{self.base}.{suffix}")
        self.parts[name] = ProgramConstant(name, array)
        return name

    def shared(self, name: str, array: np.ndarray) -> str:
        """A constant for all programs that need one of its content, which `name` tells."""
        name = self.free(name)
        self.parts[name] = ProgramConstant(name, array, is_shared=True)
        return name

    def step(self, op: str, *inputs: str, out: str, **attrs: Any) -> str:
        """A node; `out` with a leading dot is a suffix of the base, otherwise the whole name."""
        name = self.free(self.base + out) if out.startswith(".") else out
        self.steps[name] = ProgramNode(op, inputs, (name,), tuple(sorted(attrs.items())))
        return name

    def common(self, op: str, *inputs: str, out: str, **attrs: Any) -> str:
        """A node for all programs that need it; `out` tells what it makes."""
        return self.step(op, *inputs, out=self.free(out), **attrs)

    def split(self, source: str, sizes: np.ndarray, names: tuple[str, ...]) -> None:
        """A node that cuts a vector into pieces."""
        at = self.part("n", sizes)
        self.steps[names[0]] = ProgramNode("Split", (source, at), names)

    def shape(self, *dims: int) -> str:
        """A shared list of whole numbers."""
        return self.shared("s" + "x".join(map(str, dims)), np.array(dims, np.int64))

    def program(self, form: str, *outputs: str) -> Program:
        """What was collected."""
        return Program(form, tuple(self.parts.values()), tuple(self.steps.values()), outputs)


def abbreviated(name: str) -> str:
    """A short base for names that derive from `name`: of each of its words the first letter, and its digits.

    `layer1.0.conv1.weight` is `l10c1w`, `onnx::Conv_193` is `oC193`.
    """
    words = re.findall(r"[A-Za-z]+|\d+", name)
    return "".join(word if word.isdigit() else word[0] for word in words) or "w"
