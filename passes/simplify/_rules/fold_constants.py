"""Fold subgraphs that depend only on constants.

The largest constant subgraphs are evaluated as a whole, and only the values that the rest of the model reads become
initializers. A value that would add more bytes than it removes stays computed (`ConstantOfShape` turns 40 bytes into
500 MB; `Cast` quadruples an int8 weight), with a tolerance of 256 bytes, about the size of a node; its inputs are
then tried instead. Bodies of If, Loop and Scan are folded like the main graph; a value that several bodies compute
becomes one initializer in the graph around them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx

from onnx_compress.compiler.errors import CompressError
from onnx_compress.compiler.ir import edit, ops
from onnx_compress.compiler.ir.extract import constant_part
from onnx_compress.compiler.ir.graph import Node, Tensor, Variable
from onnx_compress.compiler.ir.hoist import common_graph, lift
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime.session import create
from onnx_compress.passes.simplify._analysis.constant_groups import GROWTH, ConstantGroup, groups_that_pay
from onnx_compress.passes.simplify._analysis.facts import READABLE, Facts
from onnx_compress.passes.simplify._rules.rule import is_untouched

_EXCHANGEABLE = frozenset(range(1, 14)) - {onnx.TensorProto.STRING}
"""Element types that onnxruntime exchanges with NumPy."""


def fold_constants(model: Model, ctx: Context, facts: Facts) -> int:
    """Replace values that depend only on constants by initializers of the same names."""
    groups = groups_that_pay(facts, _constant_nodes(model, facts))
    try:
        return _fold(model, facts, groups)
    except CompressError:
        # onnxruntime does not name the node that it can't load: try each group separately.
        return sum(_fold_or_skip(model, ctx, facts, group) for group in groups)


def _fold_or_skip(model: Model, ctx: Context, facts: Facts, group: ConstantGroup) -> int:
    try:
        return _fold(model, facts, [group])
    except CompressError as error:
        ctx.skip(group.nodes[-1], f"onnxruntime can't compute its constant inputs: {error}")
        return 0


def _fold(model: Model, facts: Facts, groups: Sequence[ConstantGroup]) -> int:
    made = [outs for group in groups for outs in group.makes.values()]
    if not made:
        return 0
    nodes = [node for group in groups for node in group.nodes]
    values = _evaluate(model, nodes, [outs[0] for outs in made])
    changed = 0
    for outs, array in zip(made, values, strict=True):
        if facts.nbytes(outs[0]) is not None or array.nbytes <= GROWTH:
            _freeze(model, outs, array)
            changed += len(outs)
    return changed


def _freeze(model: Model, outs: list[Variable], array: np.ndarray) -> None:
    """Replace all of `outs` by one constant, in a graph visible to all their readers."""
    graphs = [out.inputs[0].graph for out in outs]
    constant = edit.freeze(model, outs[0], array)
    for out in outs[1:]:
        edit.replace_uses(model, out, constant)
    lift(model, constant, common_graph([graph for graph in graphs if graph is not None]))


def _constant_nodes(model: Model, facts: Facts) -> Iterator[Node]:
    """Nodes with only constants and outputs of such nodes as inputs, in order."""
    found: set[Node] = set()
    for node in model.nodes():
        if not _may_fold(node, facts):
            continue
        inputs = [tensor for tensor in node.inputs if tensor.name]
        if all(_is_constant(tensor, facts, found) for tensor in inputs) and _is_affordable(node, inputs, facts):
            found.add(node)
            yield node


def _may_fold(node: Node, facts: Facts) -> bool:
    is_handled_elsewhere = node.is_op("Constant", "Identity")
    if not node.is_standard or is_untouched(node) or is_handled_elsewhere or any(True for _ in node.bodies()):
        return False
    return bool(node.outputs) and not any(out in facts.results for out in node.outputs)


def _is_constant(tensor: Tensor, facts: Facts, found: set[Node]) -> bool:
    if facts.constant(tensor) is not None:
        return True
    return bool(tensor.inputs) and tensor.inputs[0] in found


def _is_affordable(node: Node, inputs: list[Tensor], facts: Facts) -> bool:
    """Whether evaluation needs a known amount of memory, and does not read a huge weight for nothing."""
    made = [facts.nbytes(out) for out in node.outputs if out.name]
    if not all(facts.type(out) in _EXCHANGEABLE for out in node.outputs if out.name):
        return False
    constants = [facts.constant(tensor) for tensor in inputs]
    if None in made:
        return _is_bounded(node) and all(c is not None and c.nbytes <= READABLE for c in constants)
    total = sum(nbytes for nbytes in made if nbytes is not None)
    return all(c is None or c.nbytes <= facts.foldable or total < c.nbytes for c in constants)


def _is_bounded(node: Node) -> bool:
    """Whether a node makes little of little, even where the shape of its output is not inferred."""
    return ops.of(node).is_bounded or node.is_op("NonZero")


def _evaluate(model: Model, nodes: Sequence[Node], wanted: Sequence[Variable]) -> list[np.ndarray]:
    """The values of `wanted`, computed by onnxruntime without graph optimization."""
    part = constant_part(model, nodes, wanted)
    values = create(part, optimize=False).run({})
    return [values[out.name] for out in part.graph.outputs]
