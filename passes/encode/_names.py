"""Names for the parts of stored weights: short, because they are written to the file, and derived from old names."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir.files.lower import stored_tensors
from onnx_compress.compiler.ir.graph import Graph
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.names import names_of
from onnx_compress.compiler.storage.program import Program, ProgramConstant, ProgramNode, abbreviated


class Bases:
    """Name prefixes, one for each weight."""

    def __init__(self, model: Model) -> None:
        self.taken = names_of(model)
        self._given: set[str] = set()

    def of(self, name: str) -> str:
        """An abbreviation of `name`, or `name` itself if the abbreviation is already used."""
        short = abbreviated(name)
        base = name if short in self._given else short
        while base in self._given:
            base += "_"
        self._given.add(base)
        return base


class StoredNames:
    """The names of one graph; parts that its stored weights already share keep their names."""

    def __init__(self, bases: Bases, graph: Graph) -> None:
        self._taken = bases.taken
        owner = graph.parent
        # A name in a body must differ from all outer names.
        self._prefix = "" if owner is None else abbreviated(owner.layer_name()) + "."
        self.known: dict[str, ProgramConstant | ProgramNode] = {}
        for _, stored in stored_tensors(graph):
            self.add(stored.encoding.program)

    def add(self, program: Program) -> None:
        """Record that the graph contains the parts that `program` shares with others."""
        shared = set(program.shared())
        self.known.update((part.name, part) for part in program.parts if part.name in shared)
        self.known.update((step.outputs[0], step) for step in program.steps if step.outputs[0] in shared)

    def free(self, name: str) -> str:
        """`name`, prefixed in a body by its node's name, with underscores appended until no other tensor has it."""
        name = self._prefix + name
        while name in self._taken and name not in self.known:
            name += "_"
        return name

    def agree(self, program: Program) -> bool:
        """Whether the shared parts of `program` equal the graph's of the same names; conflicting names are retired."""
        made: list[tuple[str, ProgramConstant | ProgramNode]] = [(part.name, part) for part in program.parts]
        made += [(step.outputs[0], step) for step in program.steps]
        wrong = [name for name, one in made if name in self.known and not _equal(one, self.known[name])]
        for name in wrong:
            del self.known[name]
            self._taken.add(name)
        return not wrong


def _equal(a: ProgramConstant | ProgramNode, b: ProgramConstant | ProgramNode) -> bool:
    if isinstance(a, ProgramConstant) and isinstance(b, ProgramConstant):
        return a.array.dtype == b.array.dtype and np.array_equal(a.array, b.array)
    return a == b
