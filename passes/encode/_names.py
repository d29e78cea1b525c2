"""Names for what stored weights consist of: short, because they go into the file, and derived from old ones."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir.files.lower import stored_tensors
from onnx_compress.compiler.ir.graph import Graph
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.names import names_of
from onnx_compress.compiler.storage.program import Program, ProgramConstant, ProgramNode, abbreviated


class Bases:
    """Beginnings of names, one for each weight."""

    def __init__(self, model: Model) -> None:
        self.taken = names_of(model)
        self._given: set[str] = set()

    def of(self, name: str) -> str:
        """An abbreviation of `name`; the whole where that is given already."""
        short = abbreviated(name)
        base = name if short in self._given else short
        while base in self._given:
            base += "_"
        self._given.add(base)
        return base


class StoredNames:
    """The names of one graph; what its stored weights share already keeps its own."""

    def __init__(self, bases: Bases, graph: Graph) -> None:
        self._taken = bases.taken
        owner = graph.parent
        # What is inside a body may not be called like something around it.
        self._prefix = "" if owner is None else abbreviated(owner.layer_name()) + "."
        self.known: dict[str, ProgramConstant | ProgramNode] = {}
        for _, stored in stored_tensors(graph):
            self.add(stored.encoding.program)

    def add(self, program: Program) -> None:
        """Note that the graph has what `program` shares with others."""
        shared = set(program.shared())
        self.known.update((part.name, part) for part in program.parts if part.name in shared)
        self.known.update((step.outputs[0], step) for step in program.steps if step.outputs[0] in shared)

    def free(self, name: str) -> str:
        """`name`, in a body behind the name of its node, with underscores behind it while it means something else."""
        name = self._prefix + name
        while name in self._taken and name not in self.known:
            name += "_"
        return name

    def agree(self, program: Program) -> bool:
        """Whether what `program` shares is what the graph has under these names; else they are given up."""
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
