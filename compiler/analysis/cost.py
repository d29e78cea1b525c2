"""The cost of a model: parameters, bytes and multiply-accumulates, in total and per layer.

Everything is for batch 1. Free dimensions take their size from `inputs`, the shapes of one sample; the first axis
of each input is set to 1. If a size stays unknown, the layer's MACs are None, the layer is listed in `unknown`, and
the total covers the other layers. An If counts its most expensive branch; a Loop or Scan counts one iteration.

The parameters of a weight are its elements, however it is stored (`weight_expressions.py`); a weight that several
layers read counts once in the total, and once in the row of each layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from onnx_compress.compiler.analysis.geometry import Geometry, geometry
from onnx_compress.compiler.analysis.macs import FORMULAS, macs
from onnx_compress.compiler.analysis.weight_expressions import StoredWeight, is_float, packed_weight, stored_weight
from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.shapes.sizes import SizeTable, UnknownSize


@dataclass(frozen=True)
class LayerCost:
    """A node with parameters or multiply-accumulates.

    `path` are the labels of the enclosing control-flow nodes. `macs` is None if a shape is unknown; `note` says which.
    `is_counted` is False in a branch that is not the most expensive one.
    """

    name: str
    op: str
    geometry: Geometry
    parameters: int
    nonzero: int
    bytes: int
    macs: int | None
    note: str = ""
    path: tuple[str, ...] = ()
    is_counted: bool = True


@dataclass(frozen=True)
class Cost:
    """The cost of a model; `bytes` is the size of all constants, `macs` is None if no layer's MACs are known."""

    parameters: int
    nonzero: int
    bytes: int
    macs: int | None
    layers: tuple[LayerCost, ...]
    notes: tuple[str, ...] = ()

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the layers with unknown MACs, which the total leaves out."""
        return tuple(layer.name for layer in self.layers if layer.macs is None)

    @classmethod
    def of(cls, model: Model, inputs: Mapping[str, Sequence[int]] | None = None) -> Self:
        """The cost of `model` at batch 1; `inputs` are the shapes of inputs with free dimensions."""
        sizes = SizeTable(model, inputs or {})
        products = [node for node in model.nodes() if ops.key(node) in FORMULAS]
        sizes.look(tensor for node in products for tensor in (*node.inputs, *node.outputs) if tensor.name)
        walk = _Walk(sizes)
        layers, total = walk.graph(model.graph, ())
        is_known = total > 0 or all(layer.macs is not None for layer in layers)
        return cls(
            parameters=sum(w.elements for w in walk.weights.values()),
            nonzero=sum(walk.nonzero.values()),
            bytes=model.stored_bytes(),
            macs=total if is_known else None,
            layers=tuple(layers),
            notes=tuple(walk.notes),
        )


def node_macs(model: Model, inputs: Mapping[str, Sequence[int]] | None = None) -> dict[Node, int]:
    """Multiply-accumulates of each node of the main graph with its bodies, as in `Cost`; 0 if unknown."""
    sizes = SizeTable(model, inputs or {})
    products = [node for node in model.nodes() if ops.key(node) in FORMULAS]
    sizes.look(tensor for node in products for tensor in (*node.inputs, *node.outputs) if tensor.name)
    walk = _Walk(sizes)
    return {n: 0 if is_part_of_weight(n) else (walk.macs(n)[0] or 0) + walk.bodies(n, ())[1] for n in model.graph.nodes}


class _Walk:
    """One pass over the graph, which also collects the distinct weights."""

    def __init__(self, sizes: SizeTable) -> None:
        self.sizes = sizes
        self.weights: dict[Constant, StoredWeight] = {}
        self.nonzero: dict[Constant, int] = {}
        self.notes: list[str] = []

    def graph(self, graph: Graph, path: tuple[str, ...]) -> tuple[list[LayerCost], int]:
        """The layers of a graph and its bodies, and the MACs of one execution."""
        layers: list[LayerCost] = []
        total = 0
        for node in graph.nodes:
            if is_part_of_weight(node):
                continue
            layer = self.layer(node, path)
            if layer is not None:
                layers.append(layer)
                total += layer.macs or 0
            inside, spent = self.bodies(node, path)
            layers += inside
            total += spent
        return layers, total

    def layer(self, node: Node, path: tuple[str, ...]) -> LayerCost | None:
        """The row of a node; None without parameters and multiply-accumulates."""
        weights = list(read_weights(node))
        if not weights and ops.key(node) not in FORMULAS:
            return None
        for weight in weights:
            if weight.key not in self.weights:
                self.weights[weight.key] = weight
                self.nonzero[weight.key] = weight.nonzero()
        spent, note = self.macs(node)
        return LayerCost(
            name=node.layer_name(),
            op=node.op,
            geometry=geometry(node, self.sizes),
            parameters=sum(w.elements for w in weights),
            nonzero=sum(self.nonzero[w.key] for w in weights),
            bytes=sum(w.nbytes for w in weights),
            macs=spent,
            note=note,
            path=path,
        )

    def macs(self, node: Node) -> tuple[int | None, str]:
        """MACs of a node, or None and the reason."""
        try:
            return macs(node, self.sizes), ""
        except UnknownSize as error:
            return None, str(error)

    def bodies(self, node: Node, path: tuple[str, ...]) -> tuple[list[LayerCost], int]:
        """The layers within a control-flow node, and the MACs of one execution."""
        found = [self.graph(body, (*path, node.label())) for body in node.bodies()]
        if not any(layers for layers, _ in found):
            return [], 0
        if not node.is_op("If"):
            self.notes.append(f"{node.label()}: only one iteration is counted")
            return _joined(found), sum(spent for _, spent in found)
        self.notes.append(f"{node.label()}: only the branch with the most MACs is counted")
        best = max(range(len(found)), key=lambda i: found[i][1])
        chosen = [(ls if i == best else _uncounted(ls), spent) for i, (ls, spent) in enumerate(found)]
        return _joined(chosen), found[best][1]


def _joined(found: Iterable[tuple[list[LayerCost], int]]) -> list[LayerCost]:
    return [layer for layers, _ in found for layer in layers]


def _uncounted(layers: list[LayerCost]) -> list[LayerCost]:
    return [replace(layer, is_counted=False) for layer in layers]


def is_part_of_weight(node: Node) -> bool:
    """Whether a node only turns stored constants into a weight, which is attributed to its reader."""
    return node.is_op("Constant") or (len(node.outputs) == 1 and stored_weight(node.outputs[0]) is not None)


def read_weights(node: Node) -> Iterator[StoredWeight]:
    """The weights that a node reads, each once; integers count as weights only at a quantized operator's inputs."""
    facts = ops.of(node)
    seen: set[Constant] = set()
    for slot, tensor in enumerate(node.inputs):
        if not tensor.name or slot in facts.scales or slot in facts.indices:
            continue
        packed = slot == 1 and node.op == "MatMulNBits"
        weight = packed_weight(node) if packed else stored_weight(tensor)
        if weight is None or weight.key in seen or not _is_weight(weight, tensor, is_quantized=facts.is_quantized):
            continue
        seen.add(weight.key)
        yield weight


def _is_weight(weight: StoredWeight, tensor: Tensor, *, is_quantized: bool) -> bool:
    """Whether it is a weight: floats, and integers with a scale or codebook or read by a quantized operator."""
    if is_float(weight.key) or len(weight.parts) > 1:
        return True
    return is_quantized
