"""Remove the Transposes around element-wise operators, if that leaves fewer of them.

    Transpose(p) → Add, Relu, … → Transpose(p⁻¹)      becomes      Add, Relu, …

Channels-last frameworks wrap every Conv in Transposes, which separate it from its scale and bias. A region is a set
of connected element-wise nodes whose inputs are Transposes by the same p, other nodes of the region, or constants,
which are transposed at compile time. It is rewritten if more Transposes are removed than must be added for readers
outside.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from onnx_compress.compiler.ir import edit, ops
from onnx_compress.compiler.ir.graph import Graph, Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.simplify._analysis.facts import Facts
from onnx_compress.passes.simplify._rules.merge_chains import permutation
from onnx_compress.passes.simplify._rules.rule import forward

Perm = tuple[int, ...]


@dataclass
class _Region:
    """Connected element-wise nodes, the Transposes before them, and the inverse Transposes after them."""

    members: list[Node] = field(default_factory=list)
    sources: dict[Node, None] = field(default_factory=dict)
    undone: list[Node] = field(default_factory=list)
    seen_outside: list[Node] = field(default_factory=list)


def sink_transposes(model: Model, ctx: Context, facts: Facts) -> int:
    """Rewrite the regions of every graph where that pays."""
    changed = 0
    for graph in list(model.graphs()):
        transposes = [node for node in graph.nodes if node.is_op("Transpose")]
        for perm in dict.fromkeys(permutation(node, facts) for node in transposes):
            if perm is not None and not changed:
                changed += sum(_rewrite(model, facts, region, perm) for region in _regions(graph, facts, perm))
    return changed


def _regions(graph: Graph, facts: Facts, perm: Perm) -> list[_Region]:
    regions: dict[Node, _Region] = {}
    for node in graph.nodes:
        if ops.of(node).is_elementwise and "axis" not in node.attrs and len(node.outputs) == 1:
            before = _before(node, facts, perm, regions)
            if before:
                _join(node, before, regions)
    distinct = {id(region): region for region in regions.values()}
    for region in distinct.values():
        _look_behind(region, facts, perm, regions)
    return [region for region in distinct.values() if _gain(region, facts) > 0]


def _before(node: Node, facts: Facts, perm: Perm, regions: dict[Node, _Region]) -> list[Node]:
    """The Transposes and region nodes that `node` reads; empty if it reads anything else, or only constants."""
    found: list[Node] = []
    for tensor in node.inputs:
        producer = tensor.inputs[0] if tensor.inputs else None
        if not tensor.name or _turned(tensor, facts, perm) is not None:
            continue
        is_transposed = producer is not None and producer.is_op("Transpose") and permutation(producer, facts) == perm
        if producer is None or producer.graph is not node.graph or not (is_transposed or producer in regions):
            return []
        found.append(producer)
    return found


def _turned(tensor: Tensor, facts: Facts, perm: Perm) -> np.ndarray | None:
    """A constant that broadcasts against transposed values, transposed back; None for any other tensor."""
    values = facts.value(tensor)
    if values is None or values.ndim > len(perm):
        return None
    if values.size == 1 and values.ndim <= 1:
        return values
    return values.reshape((1,) * (len(perm) - values.ndim) + values.shape).transpose(np.argsort(perm))


def _join(node: Node, before: list[Node], regions: dict[Node, _Region]) -> None:
    """Add `node` to the region of its inputs, merging the regions that meet here."""
    region = _Region()
    for producer in before:
        other = regions.get(producer)
        if other is None:
            region.sources[producer] = None
        elif other is not region:
            region.members += other.members
            region.sources.update(other.sources)
            for member in other.members:
                regions[member] = region
    region.members.append(node)
    regions[node] = region


def _look_behind(region: _Region, facts: Facts, perm: Perm, regions: dict[Node, _Region]) -> None:
    undo = tuple(int(axis) for axis in np.argsort(perm))
    for member in region.members:
        out = member.outputs[0]
        outside = [reader for reader in out.outputs if regions.get(reader) is not region]
        undone = [r for r in outside if r.is_op("Transpose") and permutation(r, facts) == undo]
        region.undone += undone
        if len(undone) < len(outside) or out in facts.results:
            region.seen_outside.append(member)


def _gain(region: _Region, facts: Facts) -> int:
    members = set(region.members)
    gone = [s for s in region.sources if s.outputs[0] not in facts.results and members.issuperset(s.outputs[0].outputs)]
    return len(gone) + len(region.undone) - len(region.seen_outside)


def _rewrite(model: Model, facts: Facts, region: _Region, perm: Perm) -> bool:
    raw: dict[Tensor, Tensor] = {source.outputs[0]: source.inputs[0] for source in region.sources}
    for member in region.members:
        for slot, tensor in enumerate(list(member.inputs)):
            if tensor.name:
                edit.set_input(model, member, slot, raw.get(tensor) or _constant(model, facts, tensor, perm, member))
        out = member.outputs[0]
        assert isinstance(out, Variable)
        raw[out] = edit.divert(model, out, "transposed")
        edit.set_shape(model, raw[out], None)
    for member in region.seen_outside:
        out = next(old for old, new in raw.items() if new is member.outputs[0])
        edit.add_node(
            model,
            "Transpose",
            [raw[out]],
            base=out.name,
            suffix="transpose",
            after=member,
            attrs={"perm": perm},
            outputs=[out],
        )
    for node in region.undone:
        forward(model, facts, node, raw[node.inputs[0]])
    return True


def _constant(model: Model, facts: Facts, tensor: Tensor, perm: Perm, reader: Node) -> Tensor:
    turned = _turned(tensor, facts, perm)
    assert turned is not None
    if turned.ndim <= 1:
        return tensor
    return edit.add_constant(model, tensor.name, "transposed", turned, graph=reader.graph)
