"""Fold a per-channel scale s and shift t into the layer whose output they act on.

========================  =====================================================================
Conv, ConvTranspose       W ← s·W along the output channels, b ← s·b + t
Gemm                      B ← B·s, C ← β·C·s + t, β ← 1
MatMul                    B ← B·s; only where t = 0, because MatMul has no bias
MatMul + Add              B ← B·s, the constant of Add ← s·c + t
BatchNormalization        γ ← s·γ, β ← s·β + t
========================  =====================================================================

The products are taken in float64 and rounded once to the weight's type. The layer then computes the last of the
folded values, under its name. Nothing is folded where the value between is read elsewhere too, where the weight
is shared with other layers and large (a copy would make the file grow), where its type is narrower than float32
(the rounding would show), or where a product is no longer finite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_constant
from onnx_compress.passes.simplify._affine import Affine
from onnx_compress.passes.simplify._facts import Facts, has_input

COPYABLE = 1 << 14
"""Bytes up to which a weight that other layers read too is copied for a fold."""


@dataclass(frozen=True)
class Factor:
    """Input `slot` of `node` is to become scale · input + shift, both of a shape that broadcasts."""

    node: Node
    slot: int
    scale: np.ndarray
    shift: np.ndarray = field(default_factory=lambda: np.zeros(()))

    @property
    def is_neutral(self) -> bool:
        """Whether nothing would change."""
        return bool((self.scale == 1).all() and (self.shift == 0).all())


def fold_into_producer(model: Model, facts: Facts, node: Node, affine: Affine) -> str:
    """Fold `node`, which does `affine`, into the layer before it; empty when done, else the reason why not."""
    producer = affine.source.inputs[0] if affine.source.inputs else None
    plan_of = _PLANS.get(producer.op) if producer is not None and producer.is_standard else None
    if producer is None or plan_of is None:
        origin = "an input" if producer is None else producer.label()
        return f"its input comes from {origin}, which takes no scale and shift"
    if producer.graph is not node.graph or not facts.is_alone(affine.source):
        return f"'{affine.source.name}' is needed elsewhere too"
    plan = plan_of(producer, facts, affine)
    if isinstance(plan, str):
        return plan
    folded = [(factor, _product(facts, factor)) for factor in plan if not factor.is_neutral]
    refusal = next((product for _, product in folded if isinstance(product, str)), "")
    if refusal:
        return refusal
    for factor, product in folded:
        _apply(model, factor, np.asarray(product))
    if producer.is_op("Gemm"):
        edit.set_attr(model, producer, "beta", None)
    edit.absorb(model, producer, node)
    return ""


def _product(facts: Facts, factor: Factor) -> np.ndarray | str:
    """The new values of a weight, or why there are none; a bias that is not there counts as zero."""
    if not has_input(factor.node, factor.slot):
        weight = input_constant(factor.node, 1)
        assert weight is not None
        return np.asarray(factor.shift, weight.stored.dtype)
    constant = facts.constant(factor.node.inputs[factor.slot])
    if constant is None:
        return f"input {factor.slot} of {factor.node.label()} is computed at run time"
    refusal = _refusal(facts, constant, factor.node.inputs[factor.slot])
    if refusal:
        return refusal
    values = constant.values
    with np.errstate(over="ignore", invalid="ignore"):
        product: np.ndarray = (values.astype(np.float64) * factor.scale + factor.shift).astype(values.dtype)
    if np.isfinite(product).all() or not np.isfinite(values).all():
        return product
    return f"'{constant.name}' would overflow"


def _refusal(facts: Facts, constant: Constant, read: Tensor) -> str:
    if np.dtype(constant.stored.dtype) not in (np.float32, np.float64):
        return f"'{constant.name}' is {constant.stored.dtype}, whose rounding would show"
    if constant.nbytes > facts.loadable:
        return f"'{constant.name}' is too large to be rewritten for it"
    if len(edit.uses(facts.model, read)) > 1 and constant.nbytes > COPYABLE:
        return f"'{constant.name}' is shared with other layers"
    return ""


def _apply(model: Model, factor: Factor, values: np.ndarray) -> None:
    if has_input(factor.node, factor.slot):
        edit.set_weight(model, factor.node, factor.slot, values)
        return
    weight = input_constant(factor.node, 1)
    assert weight is not None
    bias = edit.add_constant(model, weight.name, "bias", values, graph=factor.node.graph)
    edit.set_input(model, factor.node, factor.slot, bias)


Plan = list[Factor] | str
_VARIES = "it varies along other axes than the channels"
_COMPUTED = "the weight before it is computed at run time"


def _conv(node: Node, facts: Facts, affine: Affine) -> Plan:
    weight = facts.constant(node.inputs[1])
    if weight is None:
        return _COMPUTED
    shape = tuple(weight.stored.shape)
    vectors = affine.along(1, len(shape), shape[0])
    if vectors is None:
        return _VARIES
    scale, shift = vectors
    return [Factor(node, 1, scale.reshape(-1, *(1,) * (len(shape) - 1))), Factor(node, 2, scale, shift)]


def _conv_transpose(node: Node, facts: Facts, affine: Affine) -> Plan:
    weight = facts.constant(node.inputs[1])
    if weight is None:
        return _COMPUTED
    shape, groups = tuple(weight.stored.shape), node.attrs.get("group", 1)
    vectors = affine.along(1, len(shape), shape[1] * groups)
    if vectors is None:
        return _VARIES
    scale, shift = vectors
    # W is [C_in, C_out/groups, ...]: the rows of group g make the output channels of group g.
    by_row = np.repeat(scale.reshape(groups, shape[1]), shape[0] // groups, axis=0)
    return [Factor(node, 1, by_row.reshape(*by_row.shape, *(1,) * (len(shape) - 2))), Factor(node, 2, scale, shift)]


def _gemm(node: Node, facts: Facts, affine: Affine) -> Plan:
    weight = facts.constant(node.inputs[1])
    if weight is None:
        return _COMPUTED
    is_transposed = bool(node.attrs.get("transB"))
    vectors = affine.along(1, 2, weight.stored.shape[0 if is_transposed else 1])
    if vectors is None:
        return _VARIES
    scale, shift = vectors
    beta = node.attrs.get("beta", 1.0) if has_input(node, 2) else 1.0
    return [Factor(node, 1, scale[:, None] if is_transposed else scale), Factor(node, 2, scale * beta, shift)]


def _matmul(node: Node, facts: Facts, affine: Affine) -> Plan:
    vectors = _along_columns(node, facts, affine)
    if isinstance(vectors, str):
        return vectors
    scale, shift = vectors
    return [Factor(node, 1, scale)] if (shift == 0).all() else "MatMul has no bias"


def _along_columns(node: Node, facts: Facts, affine: Affine) -> tuple[np.ndarray, np.ndarray] | str:
    weight, shape = facts.constant(node.inputs[1]), facts.shape(node.outputs[0])
    if weight is None or len(weight.stored.shape) != 2:
        return _COMPUTED
    if shape is None or len(shape) < 2:
        return "the rank of MatMul's output is not known"
    return affine.along(len(shape) - 1, len(shape), weight.stored.shape[1]) or _VARIES


def _biased_matmul(node: Node, facts: Facts, affine: Affine) -> Plan:
    slot = next((slot for slot in (1, 0) if facts.constant(node.inputs[slot]) is not None), None)
    product = node.inputs[1 - slot] if slot is not None else None
    if slot is None or product is None or not product.inputs or not product.inputs[0].is_op("MatMul"):
        return "the sum before it takes no scale and shift"
    matmul = product.inputs[0]
    if not facts.is_alone(product) or matmul.graph is not node.graph:
        return f"'{product.name}' is needed elsewhere too"
    bias, vectors = facts.constant(node.inputs[slot]), _along_columns(matmul, facts, affine)
    if isinstance(vectors, str):
        return vectors
    scale, shift = vectors
    if bias is None or bias.stored.shape != scale.shape:
        return "the sum before it is no bias of the channels"
    return [Factor(matmul, 1, scale), Factor(node, slot, scale, shift)]


def _batchnorm(node: Node, facts: Facts, affine: Affine) -> Plan:
    gamma, shape = facts.constant(node.inputs[1]), facts.shape(node.inputs[0])
    if gamma is None or shape is None or node.attrs.get("training_mode"):
        return _COMPUTED
    vectors = affine.along(1, len(shape), gamma.stored.shape[0])
    if vectors is None:
        return _VARIES
    scale, shift = vectors
    return [Factor(node, 1, scale), Factor(node, 2, scale, shift)]


_PLANS: dict[str, Callable[[Node, Facts, Affine], Plan]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _biased_matmul,
    "BatchNormalization": _batchnorm,
}
