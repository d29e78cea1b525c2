"""Fold a per-channel scale s and shift t into the layer that computes their input.

Products are computed in float64 and rounded once to the weight's type. The layer then computes the last of the
folded values, under its name. Nothing is folded if

- the value in between is also read elsewhere;
- the weight is large and shared with other layers: a copy would make the file grow;
- its type is narrower than float32: rounding would matter;
- it is clustered: different scales would multiply its few distinct values, and it would need more bits;
- a product is not finite.
"""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_constant
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.storage.structure import inferred
from onnx_compress.passes.simplify._analysis.affine import Affine
from onnx_compress.passes.simplify._analysis.affine_plans import PLANS, Factor
from onnx_compress.passes.simplify._analysis.facts import LARGE, Facts, has_input

COPYABLE = 1 << 14
"""Maximum size in bytes of a shared weight that is copied for a fold."""


def fold_into_producer(model: Model, ctx: Context, facts: Facts, node: Node, affine: Affine) -> str:
    """Fold `node`, which computes `affine`, into the layer before it; returns "" or the reason why not."""
    producer = affine.source.inputs[0] if affine.source.inputs else None
    plan_of = PLANS.get(producer.op) if producer is not None and producer.is_standard else None
    if producer is None or plan_of is None:
        origin = "an input" if producer is None else producer.label()
        return f"it follows {origin}, into which a scale and shift can't be folded"
    if producer.graph is not node.graph or not facts.is_alone(affine.source):
        return f"'{affine.source.name}' is also needed elsewhere"
    plan = plan_of(producer, facts, affine)
    if isinstance(plan, str):
        return plan
    excluded = next((factor.node for factor in plan if ctx.is_excluded(factor.node)), None)
    if excluded is not None:
        return f"{excluded.label()} is excluded"
    products = [(factor, _product(facts, factor)) for factor in plan if not _is_neutral(factor)]
    refusal = next((product for _, product in products if isinstance(product, str)), "")
    if refusal:
        return refusal
    for factor, product in products:
        _apply(model, factor, np.asarray(product))
    if producer.is_op("Gemm"):
        edit.set_attr(model, producer, "beta", None)
    edit.absorb(model, producer, node)
    return ""


def _is_neutral(factor: Factor) -> bool:
    is_scaled = has_input(factor.node, factor.slot) and (factor.scale != 1).any()
    return not is_scaled and not factor.shift.any()


def _product(facts: Facts, factor: Factor) -> np.ndarray | str:
    """The new values of a weight, or the reason why it can't change; a missing bias counts as zero."""
    if not has_input(factor.node, factor.slot):
        zeros = np.zeros(factor.shift.shape, _weight(factor.node).stored.dtype)
        return _scaled(zeros, factor, "the bias")
    constant = facts.constant(factor.node.inputs[factor.slot])
    if constant is None:
        return f"input {factor.slot} of {factor.node.label()} is computed at run time"
    refusal = _refusal(facts, constant, len(edit.uses(facts.model, factor.node.inputs[factor.slot])))
    if refusal:
        return refusal
    values = constant.values
    if np.unique(factor.scale).size > 1 and is_clustered(values):
        return f"'{constant.name}' has few distinct values, which different scales would multiply"
    return _scaled(values, factor, f"'{constant.name}'")


def _scaled(values: np.ndarray, factor: Factor, name: str) -> np.ndarray | str:
    with np.errstate(over="ignore", invalid="ignore"):
        product: np.ndarray = (values.astype(np.float64) * factor.scale + factor.shift).astype(values.dtype)
    is_sound = np.isfinite(product).all() or not np.isfinite(values).all()
    return product if is_sound else f"{name} would overflow"


def is_clustered(values: np.ndarray) -> bool:
    """Whether a weight has so few distinct values per element that it must have a codebook."""
    return inferred(values) is not None


def _refusal(facts: Facts, constant: Constant, readers: int) -> str:
    if np.dtype(constant.stored.dtype) not in (np.float32, np.float64):
        return f"'{constant.name}' is {constant.stored.dtype}, and its rounding would change the outputs"
    if constant.nbytes > LARGE:
        return f"'{constant.name}' is too large to be rewritten"
    if readers > 1 and constant.nbytes > COPYABLE:
        return f"'{constant.name}' is shared with other layers"
    return ""


def _apply(model: Model, factor: Factor, values: np.ndarray) -> None:
    if has_input(factor.node, factor.slot):
        edit.set_weight(model, factor.node, factor.slot, values)
        return
    bias = edit.add_constant(model, _weight(factor.node).name, "bias", values, graph=factor.node.graph)
    edit.set_input(model, factor.node, factor.slot, bias)


def _weight(node: Node) -> Constant:
    weight = input_constant(node, 1)
    assert weight is not None
    return weight
