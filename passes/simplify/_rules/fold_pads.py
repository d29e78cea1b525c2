"""Fold padding into the next Conv or pool: Pad → Conv becomes Conv with larger `pads`.

Exact only for zero padding of spatial axes: Conv pads with zeros, and so does AveragePool if it counts the padding
(`count_include_pad`). MaxPool pads with −∞, so only a Pad with −∞ is folded into it.
"""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.passes.simplify._analysis.facts import Facts, has_input


def fold_pads(model: Model, ctx: Context, facts: Facts) -> int:
    """Fold each Pad whose only reader is a Conv or pool."""
    changed = 0
    for node in model.nodes():
        if not node.is_op("Conv", "AveragePool", "MaxPool") or ctx.is_excluded(node) or not node.inputs[0].inputs:
            continue
        pad = node.inputs[0].inputs[0]
        if pad.is_op("Pad") and pad.graph is node.graph and facts.is_alone(node.inputs[0]):
            changed += _fold(model, facts, pad, node)
    return changed


def _fold(model: Model, facts: Facts, pad: Node, node: Node) -> bool:
    added = _spatial_pads(pad, facts)
    if added is None or node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    own = tuple(node.attrs.get("pads", (0,) * len(added)))
    pads = tuple(a + b for a, b in zip(own, added, strict=True))
    if not _is_equivalent(node, facts, _fill(pad, facts), own, pads):
        return False
    edit.set_attr(model, node, "auto_pad", None)
    edit.set_attr(model, node, "pads", pads)
    if node.op == "AveragePool":
        edit.set_attr(model, node, "count_include_pad", 1)
    edit.set_input(model, node, 0, pad.inputs[0])
    return True


def _is_equivalent(node: Node, facts: Facts, fill: float | None, own: tuple[int, ...], pads: tuple[int, ...]) -> bool:
    if node.op == "Conv":
        return fill == 0
    # A pool's window must not consist only of padding, and with ceil_mode it may extend past the end.
    kernel = tuple(node.attrs["kernel_shape"]) * 2
    is_plain = not node.attrs.get("ceil_mode") and all(p < k for p, k in zip(pads, kernel, strict=True))
    if node.op == "MaxPool":
        return is_plain and fill == -np.inf and len(node.outputs) == 1
    return is_plain and fill == 0 and not any(own) and facts.model.opset >= 7


def _spatial_pads(pad: Node, facts: Facts) -> tuple[int, ...] | None:
    """The padding before and after each spatial axis in Conv's order; None if unknown, negative or on other axes."""
    shape = facts.shape(pad.inputs[0])
    pads = np.asarray(pad.attrs["pads"]) if "pads" in pad.attrs else facts.input_value(pad, 1)
    if shape is None or pads is None or pad.attrs.get("mode", "constant") != "constant":
        return None
    full = np.zeros((2, len(shape)), np.int64)
    axes = facts.input_value(pad, 3) if has_input(pad, 3) else np.arange(len(shape))
    if axes is None:
        return None
    full[:, axes] = pads.reshape(2, -1)
    if full[:, :2].any() or (full < 0).any():
        return None
    return tuple(int(p) for p in full[:, 2:].reshape(-1))


def _fill(pad: Node, facts: Facts) -> float | None:
    if "value" in pad.attrs or not has_input(pad, 2):
        return float(pad.attrs.get("value", 0.0))
    value = facts.input_value(pad, 2)
    return None if value is None else float(value.reshape(()))
