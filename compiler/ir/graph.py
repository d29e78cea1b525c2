"""The graph that passes see: onnx-graphsurgeon's nodes and tensors, made faithful.

graphsurgeon compares nodes and tensors by their names and attributes, which makes removal from a list
slow and wrong when names repeat across subgraphs, and it forgets documentation strings, metadata, the
full types of values and the order of initializers. The subclasses here compare by identity and carry
what would be lost, so that loading and saving is the identity.
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
"""In place of a structure: the values come from a file, and nobody has looked at them."""
Stored: TypeAlias = np.ndarray | LazyTensor | EncodedTensor


@dataclass(frozen=True)
class Origin:
    """Where a tensor comes from in the model as loaded.

    `name` is its name there. `kept` maps an axis to the indices of the original that are still present,
    in order (int64, rank 1); an axis that is not in it is whole.
    """

    name: str
    kept: Mapping[int, np.ndarray] = field(default_factory=dict)

    def keep(self, axis: int, indices: np.ndarray) -> Origin:
        """The origin after only `indices` (positions on the present axis) are kept."""
        before = self.kept.get(axis)
        now = np.asarray(indices, np.int64) if before is None else before[indices]
        return Origin(self.name, {**self.kept, axis: now})


class Variable(gs.Variable):
    """A value computed at run time; `dtype` is ONNX's number of the element type.

    `info` is its declaration in the file, kept for what type and shape don't say; `imported` what both were then.
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


class Constant(gs.Constant):
    """A weight or another constant; `stored` is its array, or the tensor in the file, read when needed.

    `dtype` is NumPy's; `info` and `imported` are those of a Variable.
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
        """Know what is known of the values of `other`, which are the same."""
        self._structure = other._structure

    @property
    def stored(self) -> Stored:
        """The array, the lazy or the encoded tensor as it is, without reading it."""
        return self._values

    @property
    def values(self) -> np.ndarray:
        """The array, read-only; a lazy tensor is read but not kept, so memory stays bounded."""
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
        """What a pass said of the values, without looking for more."""
        return None if isinstance(self._structure, str) else self._structure

    @property
    def structure(self) -> Structure | None:
        """What is known of the values; of those of a file, what their repetition tells, found when first asked for."""
        if isinstance(self._structure, str):
            cells = self._values.cells if isinstance(self._values, EncodedTensor) else None
            self._structure = inferred(self.values) if cells is None else Structure(cells=cells)
        return self._structure

    @structure.setter
    def structure(self, known: Structure | None) -> None:
        # A promise is checked against the values at once: a broken one would bend every later pass.
        self._structure = None if known is None else known.true_for(self.values)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the file that stand for it in the form in which it is stored."""
        return self._values.stored_bytes if isinstance(self._values, EncodedTensor) else self.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes of the values as a plain initializer stores them (4-bit types packed)."""
        return size_in_bytes(self._values.shape, self._values.dtype)

    __eq__ = object.__eq__
    __hash__ = object.__hash__


Tensor: TypeAlias = Variable | Constant


class Node(gs.Node):
    """An operator. `graph` is the body it stands in; `header` what its file says beyond the operator.

    `alias` is what a node without a name is called: its first output's name when it was loaded, whatever later
    becomes of that output.
    `attrs` are plain values: numbers, text, tuples of them, a Constant for a tensor, a Graph or a tuple of them
    for bodies, AttributeProto for the kinds that no operator of ONNX's own has. `known` holds beside each what
    the file said and the value it belongs to, so that an attribute which nothing changed is written as it came.
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
        """Whether the operator is ONNX's own and not of another domain."""
        return self.domain in (None, "", "ai.onnx")

    def is_op(self, *ops: str) -> bool:
        """Whether this is one of the named operators of ONNX's own domain."""
        return self.op in ops and self.is_standard

    def bodies(self) -> Iterator[Graph]:
        """The subgraphs of If, Loop and Scan, in the order of the attributes."""
        for value in self.attrs.values():
            if isinstance(value, Graph):
                yield value
            elif isinstance(value, tuple) and value and isinstance(value[0], Graph):
                yield from value

    def layer_name(self) -> str:
        """What people call the node, in reports and in globs: its name, or its first output's where it has none."""
        return self.name or self.alias or next((out.name for out in self.outputs if out.name), "?")

    def matches(self, glob: str) -> bool:
        """Whether a glob of layer names means this node; a name that is typed as it is printed always does."""
        return glob == self.layer_name() or fnmatchcase(self.layer_name(), glob)

    def label(self) -> str:
        """How messages call the node: its operator and its layer name."""
        return f"{self.op} '{self.layer_name()}'"

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class Graph(gs.Graph):
    """A graph or the body of a control-flow node.

    `initializers` are its constants in the order of the file; `parent` is the node that holds the body.
    `header` holds what the file says beyond nodes and values; `declared` its declarations of inner values,
    `loose` the names among them that belong to no value; `output_infos` how it declares its outputs.
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
        # graphsurgeon's own takes any unknown name for a function that draws a layer, and logs an error.
        raise AttributeError(f"a graph has no attribute '{name}'")

    def walk(self) -> Iterator[Node]:
        """Every node of this graph and of the bodies in it, a node before what is inside it."""
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
