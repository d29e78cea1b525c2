"""The graph that passes see: onnx-graphsurgeon's nodes and tensors, without loss of information.

graphsurgeon compares nodes and tensors by their names and attributes, which makes removal from a list slow, and wrong
when names repeat across subgraphs. It also drops documentation strings, metadata, the full types of values and the
order of initializers. The subclasses here compare by identity and keep that information, so that loading and saving
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnx_compress.compiler.ir.encoded import EncodedTensor
from onnx_compress.compiler.ir.lazy import LazyTensor, size_in_bytes
from onnx_compress.compiler.storage.structure import Structure, inferred

Dim: TypeAlias = int | str | None
Shape: TypeAlias = tuple[Dim, ...]
_UNREAD = "unread"
"""Placeholder for the structure of values that come from a file and have not been analysed."""
Stored: TypeAlias = np.ndarray | LazyTensor | EncodedTensor


@dataclass(frozen=True)
class Origin:
    """Where a tensor comes from in the loaded model.

    `name` is its name there. `kept` maps an axis to the original indices that are still present, in order
    (int64, rank 1); an axis without an entry is complete.
    """

    name: str
    kept: Mapping[int, np.ndarray] = field(default_factory=dict)

    def keep(self, axis: int, indices: np.ndarray) -> Origin:
        """The origin after keeping only `indices` (positions on the present axis)."""
        before = self.kept.get(axis)
        now = np.asarray(indices, np.int64) if before is None else before[indices]
        return Origin(self.name, {**self.kept, axis: now})


def _only_with_its_model(thing: object, memo: dict[int, Any]) -> Any:
    """Refuse to copy a part of a graph by itself: the copy would drag the whole graph, weights included, along."""
    raise TypeError(f"a {type(thing).__name__} is copied with its model: see Model.twin")


class Variable(gs.Variable):
    """A value computed at run time; `dtype` is ONNX's number of the element type.

    `info` is its declaration in the file, with what type and shape don't express; `imported` is type and shape at load.
    """

    name: str
    inputs: list[Node]
    outputs: list[Node]
    dtype: Any
    shape: Any

    def __init__(self, name: str, dtype: Any = None, shape: Sequence[Dim] | None = None) -> None:
        super().__init__(name, dtype, None if shape is None else tuple(shape))
        self.info: onnx.ValueInfoProto | None = None
        self.imported: tuple[Any, Any] | None = None
        self.origin = Origin(name)

    __eq__ = object.__eq__
    __hash__ = object.__hash__
    __deepcopy__ = _only_with_its_model


class Constant(gs.Constant):
    """A weight or another constant; `stored` is its array, or a tensor in the file that is read on demand.

    `dtype` is NumPy's; `info` and `imported` are as in Variable.
    """

    name: str
    inputs: list[Node]
    outputs: list[Node]

    def __init__(self, name: str, stored: Stored) -> None:
        super().__init__(name, stored)
        self.info: onnx.ValueInfoProto | None = None
        self.imported: tuple[Any, Any] | None = None
        self.origin = Origin(name)
        self._structure: Structure | str | None = None if isinstance(stored, np.ndarray) else _UNREAD

    def share_structure(self, other: Constant) -> None:
        """Take over the structure of `other`, which has the same values."""
        self._structure = other._structure

    @property
    def stored(self) -> Stored:
        """The array, or the lazy or encoded tensor, without reading it."""
        return self._values

    @property
    def values(self) -> np.ndarray:
        """The array, read-only; a lazy tensor is read on each access and not kept, so memory stays bounded."""
        if isinstance(self._values, (LazyTensor, EncodedTensor)):
            return self._values.load()
        view = self._values.view()
        view.flags.writeable = False
        return view

    def values_set(self, values: np.ndarray) -> None:
        """Replace the array; only `edit.replace_values` calls this."""
        self._values = values

    def store_as(self, stored: Stored) -> None:
        """Keep the same values in another form; only `edit` calls this."""
        self._values = stored

    @property
    def promised(self) -> Structure | None:
        """The structure that a pass promised; nothing is inferred."""
        return None if isinstance(self._structure, str) else self._structure

    @property
    def structure(self) -> Structure | None:
        """The known structure of the values; for values from a file it is inferred on first access."""
        if isinstance(self._structure, str):
            cells = self._values.cells if isinstance(self._values, EncodedTensor) else None
            self._structure = inferred(self.values) if cells is None else Structure(cells=cells)
        return self._structure

    @structure.setter
    def structure(self, known: Structure | None) -> None:
        # A promise is checked against the values at once: a false one would corrupt every later pass.
        self._structure = None if known is None else known.true_for(self.values)

    @property
    def stored_bytes(self) -> int:
        """Bytes it takes in the file, in the form in which it is stored."""
        return self._values.stored_bytes if isinstance(self._values, EncodedTensor) else self.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes of the values as a plain initializer (4-bit types packed)."""
        return size_in_bytes(self._values.shape, self._values.dtype)

    __eq__ = object.__eq__
    __hash__ = object.__hash__
    __deepcopy__ = _only_with_its_model


Tensor: TypeAlias = Variable | Constant


class Node(gs.Node):
    """An operator. `graph` is the graph or body it belongs to; `header` is the rest of its NodeProto.

    `alias` is the name of an unnamed node: its first output's name at load, whatever becomes of that output.
    `attrs` are plain values: numbers, text, tuples of them, a Constant for a tensor, a Graph or a tuple of Graphs
    for bodies, AttributeProto for kinds that standard operators don't have. `known` maps an attribute to its message in
    the file and the value it had, so that an unchanged attribute is written unchanged.
    """

    op: str
    name: str
    domain: str | None
    attrs: dict[str, Any]
    inputs: list[Tensor]
    outputs: list[Tensor]

    def __init__(
        self,
        op: str,
        name: str,
        attrs: Mapping[str, Any] | None = None,
        inputs: Sequence[Tensor] = (),
        outputs: Sequence[Tensor] = (),
        domain: str | None = None,
    ) -> None:
        super().__init__(op, name, dict(attrs or {}), list(inputs), list(outputs), domain)
        self.graph: Graph | None = None
        self.alias = ""
        self.header: onnx.NodeProto | None = None
        self.known: dict[str, tuple[Any, onnx.AttributeProto]] = {}

    @property
    def is_standard(self) -> bool:
        """Whether the operator is in ONNX's own domain."""
        return self.domain in (None, "", "ai.onnx")

    def is_op(self, *ops: str) -> bool:
        """Whether the node is one of the named operators of ONNX's own domain."""
        return self.op in ops and self.is_standard

    def bodies(self) -> Iterator[Graph]:
        """The subgraphs of If, Loop and Scan, in the order of the attributes."""
        for value in self.attrs.values():
            if isinstance(value, Graph):
                yield value
            elif isinstance(value, tuple) and value and isinstance(value[0], Graph):
                yield from value

    def layer_name(self) -> str:
        """The node's name in reports and globs: its own, or its first output's if it has none."""
        return self.name or self.alias or next((out.name for out in self.outputs if out.name), "?")

    def matches(self, glob: str) -> bool:
        """Whether a glob of layer names matches this node; its printed name always does, even with wildcards in it."""
        return glob == self.layer_name() or fnmatchcase(self.layer_name(), glob)

    def label(self) -> str:
        """The node in messages: its operator and its layer name."""
        return f"{self.op} '{self.layer_name()}'"

    __eq__ = object.__eq__
    __hash__ = object.__hash__
    __deepcopy__ = _only_with_its_model


class Graph(gs.Graph):
    """A graph or the body of a control-flow node.

    `initializers` are its constants in file order; `parent` is the node that holds the body. `header` is the
    GraphProto without nodes and values; `declared` are the file's declarations of inner values, `loose` the declared
    names that belong to no value; `output_infos` are its output declarations.
    """

    nodes: list[Node]
    inputs: list[Tensor]
    outputs: list[Tensor]

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.initializers: list[Constant] = []
        self.parent: Node | None = None
        self.header = onnx.GraphProto(name=name)
        self.declared: tuple[onnx.ValueInfoProto, ...] = ()
        self.loose: frozenset[str] = frozenset()
        self.output_infos: dict[str, onnx.ValueInfoProto] = {}

    def __getattr__(self, name: str) -> Any:
        # graphsurgeon's method treats any unknown name as a registered layer function, and logs an error.
        raise AttributeError(f"a graph has no attribute '{name}'")

    def walk(self) -> Iterator[Node]:
        """Every node of this graph and of its bodies; a node comes before the nodes in its bodies."""
        for node in list(self.nodes):
            yield node
            for body in node.bodies():
                yield from body.walk()

    def graphs(self) -> Iterator[Graph]:
        """The graph itself and every body in it."""
        yield self
        for node in self.nodes:
            for body in node.bodies():
                yield from body.graphs()

    __eq__ = object.__eq__
    __hash__ = object.__hash__
    __deepcopy__ = _only_with_its_model
