"""From the weights of a graph to the constants of its file, and the nodes that decode stored weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx

from onnx_compress.compiler.ir.encoded import EncodedTensor, Encoding
from onnx_compress.compiler.ir.graph import Constant, Graph
from onnx_compress.compiler.storage.program import Program


class PartConstant(Constant):
    """A constant read only by decoding nodes, so it has no readers in the graph."""


@dataclass
class Lowered:
    """The initializers of one graph as written, in order, and the decoding nodes that precede the graph's own."""

    constants: list[Constant] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)


def lowered(graph: Graph) -> Lowered:
    """What is written for the constants of `graph`, without its bodies.

    If a weight of a stack changed, the others are written dense, because the program no longer holds. Whatever
    several programs share is written once.
    """
    made = Lowered()
    whole = _whole(graph)
    names: set[str] = set()
    for constant in graph.initializers:
        stored = constant.stored
        if not isinstance(stored, EncodedTensor) or stored.encoding not in whole:
            made.constants.append(constant)
            continue
        readers = whole[stored.encoding]
        if readers and readers[0] is constant:
            _write(stored.encoding, readers, names, made)
    return made


def stored_tensors(graph: Graph) -> Iterator[tuple[Constant, EncodedTensor]]:
    """The constants of `graph`, without its bodies, that are written as programs."""
    for members in _whole(graph).values():
        for constant in members:
            if isinstance(constant.stored, EncodedTensor):
                yield constant, constant.stored


def program_names(program: Program) -> Iterator[str]:
    """Every name that a program adds to its graph."""
    yield from (part.name for part in program.parts)
    for step in program.steps:
        yield from step.outputs


def _whole(graph: Graph) -> dict[Encoding, list[Constant]]:
    """The programs whose outputs are all still in the graph, once each, with the constants they compute."""
    inputs = {id(tensor) for tensor in graph.inputs}
    members: dict[Encoding, list[Constant]] = {}
    for constant in graph.initializers:
        if isinstance(constant.stored, EncodedTensor) and id(constant) not in inputs:
            members.setdefault(constant.stored.encoding, []).append(constant)
    return {e: found for e, found in members.items() if _is_whole(e, found)}


def _is_whole(encoding: Encoding, members: list[Constant]) -> bool:
    outputs = Counter(c.stored.output for c in members if isinstance(c.stored, EncodedTensor))
    return outputs == Counter(encoding.program.outputs)


def _write(encoding: Encoding, members: list[Constant], names: set[str], made: Lowered) -> None:
    if encoding.constants is None:
        encoding.constants = tuple(PartConstant(part.name, part.array) for part in encoding.program.parts)
    made.constants += [part for part in encoding.constants if part.name not in names]
    names.update(part.name for part in encoding.constants)
    changed = {c.stored.output: c.name for c in members if isinstance(c.stored, EncodedTensor)}
    for step in encoding.program.renamed(changed).steps:
        if step.outputs[0] not in names:
            made.nodes.append(step.proto())
            names.update(step.outputs)
