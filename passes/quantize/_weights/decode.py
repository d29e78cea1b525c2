"""The nodes that turn stored integers back into weights.

onnxruntime folds `Mul(Cast(integers), scales)` over constants when it loads the model, in front of any operator and in
any body, so it costs nothing at run time. It turns DequantizeLinear in front of a MatMul into one kernel that reads the
integers (MatMulNBits); anywhere else DequantizeLinear would run every time.
"""

from __future__ import annotations

import numpy as np
import onnx
from ml_dtypes import int4

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.storage.forms.symbols import NIBBLES_OPSET
from onnx_compress.passes.quantize._weights.grouping import Stored, nibble_table, pack_nibbles

FLOAT, INT32 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT32
TABLE = "nibbles"


def write_folded(model: Model, constant: Constant, holder: Graph, stored: Stored, bits: int) -> None:
    """Let every reader of `constant` read `Mul(Cast(integers), scales)` of the same name instead.

    Before opset 21, which introduces 4-bit integers, two of them share a byte and are decoded by a table.
    """
    first = holder.nodes[0]
    if bits == 8 or model.opset >= NIBBLES_OPSET:
        kind = np.dtype(np.int8) if bits == 8 else np.dtype(int4)
        integers = edit.add_constant(
            model, constant.name, f"int{bits}", stored.integers.astype(kind), graph=holder, origin=constant.origin
        )
        floats = _node(model, "Cast", [integers], constant.name, first, to=FLOAT)
    else:
        floats = _looked_up(model, constant, holder, stored, first)
    scales = edit.add_constant(model, constant.name, "scale", stored.scales, graph=holder)
    result = edit.stand_in(constant)
    if stored.integers.shape == stored.shape:
        edit.add_node(
            model, "Mul", [floats, scales], base=constant.name, suffix="scaled", before=first, outputs=[result]
        )
    else:
        scaled = _node(model, "Mul", [floats, scales], constant.name, first)
        shape = edit.add_constant(model, constant.name, "shape", np.array(stored.shape, np.int64), graph=holder)
        edit.add_node(
            model, "Reshape", [scaled, shape], base=constant.name, suffix="decoded", before=first, outputs=[result]
        )
    edit.replace_uses(model, constant, result)


def _looked_up(model: Model, constant: Constant, holder: Graph, stored: Stored, first: Node) -> Tensor:
    """Reshape(Gather(table, Cast(bytes))): the integers as floats, in their own shape."""
    table = next((c for c in holder.initializers if c.name.startswith(TABLE) and c.shape == (256, 2)), None)
    if table is None:
        table = edit.add_constant(model, "", TABLE, nibble_table(), graph=holder)
    packed = edit.add_constant(
        model, constant.name, "int4", pack_nibbles(stored.integers), graph=holder, origin=constant.origin
    )
    indices = _node(model, "Cast", [packed], constant.name, first, to=INT32)
    pairs = _node(model, "Gather", [table, indices], constant.name, first)
    shape = edit.add_constant(model, constant.name, "layout", np.array(stored.integers.shape, np.int64), graph=holder)
    return _node(model, "Reshape", [pairs, shape], constant.name, first)


def write_dequantized(model: Model, constant: Constant, holder: Graph, stored: Stored, bits: int) -> None:
    """Let the MatMuls that read `constant` [k, n] read DequantizeLinear: a scale per column, or per block of rows."""
    kind = np.dtype(np.int8) if bits == 8 else np.dtype(int4)
    integers = stored.integers.reshape(stored.shape).astype(kind)
    attrs = {"axis": 1}
    layout: tuple[int, ...] = (-1,)
    if stored.integers.ndim == 3:
        blocks, block, columns = stored.integers.shape
        attrs, layout = {"axis": 0, "block_size": block}, (blocks, columns)
    parts = [
        edit.add_constant(model, constant.name, f"int{bits}", integers, graph=holder, origin=constant.origin),
        edit.add_constant(model, constant.name, "scale", stored.scales.reshape(layout), graph=holder),
    ]
    result = edit.stand_in(constant)
    edit.add_node(
        model,
        "DequantizeLinear",
        parts,
        base=constant.name,
        suffix="dequantized",
        before=holder.nodes[0],
        attrs=attrs,
        outputs=[result],
    )
    edit.replace_uses(model, constant, result)


def _node(model: Model, op: str, inputs: list[Tensor], base: str, before: Node, **attrs: int) -> Tensor:
    return edit.add_node(model, op, inputs, base=base, suffix=op.lower(), before=before, attrs=attrs).outputs[0]
