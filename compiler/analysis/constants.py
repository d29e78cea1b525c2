"""Channels that are constant for every input: where the constants arise, and how far they propagate.

A filter of zeros outputs its bias, a normalization with a factor of 0 its shift; activations, pools and layout
operators propagate such a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from onnx_compress.compiler.analysis.channels.groups import ChannelGroups
from onnx_compress.compiler.analysis.contractions import Axes, Contraction, pads
from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import constant_of, input_constant, input_value
from onnx_compress.compiler.runtime.pointwise import Operand, computed, vector_of


class Constants:
    """Known constants along the axes that `groups` tracks.

    A vector v [size of the axis] of a value X and an axis means: X[…, i, …] = v[i] everywhere, for every input, where
    v[i] is not NaN. Values are assumed finite: 0 · x is 0.
    """

    def __init__(self, model: Model, groups: ChannelGroups, layers: Sequence[Contraction]) -> None:
        self.model = model
        self.groups = groups
        self._layers = {layer.result: layer for layer in layers if layer.result is not None}
        self.axes = Axes(groups.walk)
        self._known: dict[Tensor, dict[int, np.ndarray]] = {}
        for node in model.nodes():
            rule = _RULES.get(ops.key(node))
            if rule is not None and any(self._is_float(out) for out in node.outputs):
                rule(self, node)

    def along(self, tensor: Tensor, axis: int) -> np.ndarray | None:
        """float64 [size of the axis], NaN where unknown; None if the whole axis is unknown."""
        constant = constant_of(tensor)
        if constant is None:
            return self._known.get(tensor, {}).get(axis)
        return vector_of(constant.values, axis).masked() if _is_float_constant(tensor) else None

    def layer(self, node: Node) -> Contraction | None:
        """`node` as a layer with a constant weight; None if it is not one."""
        return self._layers.get(node.outputs[0])

    def knows(self, node: Node) -> bool:
        """Whether anything is known about a computed input of `node`."""
        return any(tensor in self._known for tensor in node.inputs)

    def write(self, tensor: Tensor, axis: int, values: np.ndarray) -> None:
        """Record the constants along an axis; nothing if all are NaN or infinite."""
        values = np.where(np.isfinite(values), values, np.nan)
        if not np.isnan(values).all():
            self._known.setdefault(tensor, {})[axis] = values

    def carried(self, node: Node, *, whole: bool = False) -> list[tuple[Tensor, int, np.ndarray]]:
        """The constants of the outputs of a node that only moves, repeats or drops elements: (output, axis, values).

        Positions are matched by their atoms, or with `whole`, for nodes that split axes, by the atoms' sets. A position
        where different values meet is unknown. Only one input may hold elements.
        """
        if not self.knows(node) and not any(_is_float_constant(tensor) for tensor in node.inputs):
            return []
        parts = [self._labelled(node, slot, whole) for slot in range(len(node.inputs)) if node.inputs[slot].name]
        keys = np.concatenate([key for part in parts for key, _ in part] or [np.zeros(0, np.int64)])
        values = np.concatenate([value for part in parts for _, value in part] or [np.zeros(0)])
        found = _Lookup(keys, values)
        outputs = [
            (out, i, atoms) for out in node.outputs if self._is_float(out) for i, atoms in self.axes.of(out).items()
        ]
        return [(out, i, found(self._key(atoms, whole))) for out, i, atoms in outputs]

    def _labelled(self, node: Node, slot: int, whole: bool) -> list[tuple[np.ndarray, np.ndarray]]:
        tensor = node.inputs[slot]
        vectors = [(atoms, self.along(tensor, i)) for i, atoms in self.axes.read(node, slot).items()]
        return [(self._key(a, whole), np.full(len(a), np.nan) if v is None else v) for a, v in vectors]

    def _key(self, atoms: np.ndarray, whole: bool) -> np.ndarray:
        return self.groups.sets.roots[atoms] if whole else atoms

    def _is_float(self, tensor: Tensor) -> bool:
        dtype = self.groups.walk.shapes.dtype(tensor.name)
        return dtype is not None and dtype.kind == "f"


def _is_float_constant(tensor: Tensor) -> bool:
    constant = constant_of(tensor) if tensor.name else None
    return constant is not None and constant.stored.dtype.kind == "f"


class _Lookup:
    """One value per key: the common value of all entries with that key, NaN if they differ."""

    def __init__(self, keys: np.ndarray, values: np.ndarray) -> None:
        self.keys, index = np.unique(keys, return_inverse=True)
        self.values = np.full(len(self.keys), np.nan)
        self.values[index] = values
        differing = self.values[index] != values  # NaN differs from itself
        self.values[index[differing]] = np.nan

    def __call__(self, keys: np.ndarray) -> np.ndarray:
        if not len(self.keys):
            return np.full(len(keys), np.nan)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.values[at], np.nan)


_Rule = Callable[[Constants, Node], None]


def _move(known: Constants, node: Node) -> None:
    for out, axis, values in known.carried(node):
        known.write(out, axis, values)


def _concat(known: Constants, node: Node) -> None:
    """Concatenate along one axis; along the others all parts have to agree."""
    result = node.outputs[0]
    at = node.attrs.get("axis", 0) % (known.axes.rank(result) or 1)
    for axis in known.axes.of(result):
        parts = [_part(known, node, slot, axis) for slot in range(len(node.inputs))]
        if axis == at:
            known.write(result, axis, np.concatenate(parts))
        else:
            stacked = np.stack(parts)
            known.write(result, axis, np.where((stacked == stacked[0]).all(0), stacked[0], np.nan))


def _part(known: Constants, node: Node, slot: int, axis: int) -> np.ndarray:
    """The constants of an input along an axis of the result, float64 [length of the axis]."""
    tensor = node.inputs[slot]
    atoms, size = known.axes.read(node, slot).get(axis), known.groups.walk.size(tensor, axis)
    values = known.along(tensor, axis)
    length = size if atoms is None else len(atoms)
    assert isinstance(length, int)  # otherwise the axis of the result would not be tracked
    return np.full(length, np.nan if values is None else values)


def _take_apart(known: Constants, node: Node) -> None:
    for out, axis, values in known.carried(node, whole=True):
        known.write(out, axis, values)


def _only_zeros(known: Constants, node: Node) -> None:
    """Sums, norms and products of zeros; for other constants they depend on the number of elements."""
    for out, axis, values in known.carried(node):
        known.write(out, axis, np.where(values == 0, 0.0, np.nan))


def _average_pool(known: Constants, node: Node) -> None:
    counts_padding = node.attrs.get("count_include_pad") and (pads(node) or node.attrs.get("ceil_mode"))
    (_only_zeros if counts_padding else _move)(known, node)


def _resize(known: Constants, node: Node) -> None:
    """Interpolation between equal values keeps them, unless positions outside the input have a value of their own."""
    if node.attrs.get("coordinate_transformation_mode") != "tf_crop_and_resize":
        _move(known, node)


def _pad(known: Constants, node: Node) -> None:
    """New positions have the padding value; a channel stays constant if that equals its own value."""
    given = known.groups.walk.integers.list_of(node, 1, "pads")
    if given is None or len(node.inputs) > 3 or node.attrs.get("mode", "constant") != "constant":
        return
    rank = len(given) // 2
    fill = input_value(node, 2)
    value = float(node.attrs.get("value", 0.0)) if fill is None else float(fill.reshape(()))
    is_computed = len(node.inputs) > 2 and bool(node.inputs[2].name) and fill is None
    for out, axis, values in known.carried(node):
        elsewhere = any(given[i] for i in range(2 * rank) if i % rank != axis)
        if not is_computed:
            known.write(out, axis, np.where(values == value, value, np.nan) if elsewhere else values)


def _pointwise(known: Constants, node: Node) -> None:
    """Each element of the result depends only on the elements at the same position."""
    if not known.knows(node) and not _has_zero_factor(node):
        return
    result = node.outputs[0]
    rank = known.axes.rank(result)
    for axis, atoms in known.axes.of(result).items():
        operands = [_operand(known, tensor, axis, rank) for tensor in node.inputs]
        known.write(result, axis, computed(known.model, node, operands, len(atoms)))


def _has_zero_factor(node: Node) -> bool:
    factors = [input_value(node, slot) for slot in range(len(node.inputs))] if node.op == "Mul" else []
    return any(factor is not None and not factor.all() for factor in factors)


def _operand(known: Constants, tensor: Tensor, axis: int, rank: int) -> Operand | None:
    """An input's values along `axis` of a result of `rank`; None if the input is absent."""
    if not tensor.name:
        return None
    constant = constant_of(tensor)
    if constant is not None:
        return vector_of(constant.values, axis - rank + len(constant.stored.shape))
    dtype = known.groups.walk.shapes.dtype(tensor.name)
    own = axis - rank + known.axes.rank(tensor)
    values = known.along(tensor, own) if own >= 0 else None
    if values is None or dtype is None:
        return Operand.unknown()
    return Operand(np.nan_to_num(values).astype(dtype), np.isnan(values))


def _linear(known: Constants, node: Node) -> None:
    """A result is constant if each of its weights is zero or multiplies a constant."""
    layer = known.layer(node)
    if layer is None:
        _zero_product(known, node)
        return
    if layer.rows is None or layer.result is None:
        return
    _, size = layer.size
    values = known.along(layer.source, layer.axis)
    values = np.full(size, np.nan) if values is None else values
    usable = ~np.isnan(values) if layer.is_uniform else values == 0
    is_known = (~layer.nonzero | usable.reshape(layer.groups, 1, -1)).all(2).reshape(-1)
    if not is_known.any():
        return
    total = layer.of_constants(np.where(usable, values, 0.0)) + _bias(known, layer)
    known.write(layer.result, layer.result_axis, np.where(is_known, total, np.nan))


def _bias(known: Constants, layer: Contraction) -> np.ndarray:
    """The bias of each row, NaN where it is computed or differs within the row."""
    node, (size, _) = layer.node, layer.size
    slots = [slot for slot in ops.of(node).biases if slot < len(node.inputs) and node.inputs[slot].name]
    if not slots:
        return np.zeros(size)
    bias = input_constant(node, slots[0])
    if bias is None:
        return np.full(size, np.nan)
    rank = len(bias.stored.shape)
    axis = 0 if node.op != "Gemm" else rank - 2 + layer.result_axis
    return np.asarray(vector_of(bias.values, axis).masked() * node.attrs.get("beta", 1.0) + np.zeros(size))


def _zero_product(known: Constants, node: Node) -> None:
    """A product of two computed matrices is zero where a row of the left or a column of the right one is zero."""
    if node.op != "MatMul" or not known.knows(node):
        return
    result = node.outputs[0]
    rank = known.axes.rank(result)
    ranks = [known.axes.rank(tensor) for tensor in node.inputs]
    for axis, atoms in known.axes.of(result).items():
        is_zero = np.zeros(len(atoms), bool)
        for side, tensor in enumerate(node.inputs):
            own = axis - rank + ranks[side]
            is_summed = axis == rank - 1 - side
            values = known.along(tensor, own) if min(ranks) >= 2 and own >= 0 and not is_summed else None
            if values is not None and len(values) == len(atoms):
                is_zero |= values == 0
        known.write(result, axis, np.where(is_zero, 0.0, np.nan))


def _normalized(known: Constants, node: Node) -> None:
    """BatchNormalization: γ · (x − μ) / √(σ² + ε) + β."""
    parameters = [input_value(node, slot) for slot in range(1, 5)]
    if any(values is None for values in parameters) or node.attrs.get("training_mode"):
        return
    gamma, beta, mean, variance = (np.asarray(values, np.float64) for values in parameters)
    x = known.along(node.inputs[0], 1)
    if x is None and gamma.all():
        return
    x = np.full(len(gamma), np.nan) if x is None else x
    scale = gamma / np.sqrt(variance + node.attrs.get("epsilon", 1e-5))
    known.write(node.outputs[0], 1, np.where(gamma == 0, beta, (x - mean) * scale + beta))


def _normalized_by_itself(known: Constants, node: Node) -> None:
    """InstanceNormalization subtracts the mean: a channel that is zero, or has a scale of 0, becomes its shift."""
    gamma, beta = input_value(node, 1), input_value(node, 2)
    if gamma is None or beta is None:
        return
    x = known.along(node.inputs[0], 1)
    is_zero = (gamma == 0) if x is None else (gamma == 0) | (x == 0)
    known.write(node.outputs[0], 1, np.where(is_zero, beta.astype(np.float64), np.nan))


def _dropout(known: Constants, node: Node) -> None:
    """The identity at inference; with a third input it may be in training mode."""
    if len(node.inputs) < 3:
        _move(known, node)


def _recurrent(known: Constants, node: Node) -> None:
    """A unit that starts at 0 stays there if its candidate, tanh(w·x + r·h + b), has no weights and no bias.

    The candidate is the last gate in W, R and B, for LSTM, GRU and RNN alike.
    """
    starts_at_zero = not any(tensor.name for tensor in node.inputs[5:7])
    is_usual = starts_at_zero and not any(name in node.attrs for name in ("activations", "clip"))
    weights = [input_value(node, slot) for slot in (1, 2)]
    if not is_usual or any(w is None for w in weights):
        return
    hidden = weights[1].shape[2]  # type: ignore[union-attr]
    is_zero = np.ones(hidden, bool)
    for weight in weights:
        is_zero &= ~weight[:, -hidden:].any((0, 2))  # type: ignore[index]
    if len(node.inputs) > 3 and node.inputs[3].name:
        bias = input_value(node, 3)
        if bias is None:
            return
        is_zero &= ~bias.reshape(len(bias), 2, -1)[:, :, -hidden:].any((0, 1))
    for out in node.outputs:
        for axis, atoms in list(known.axes.of(out).items())[-1:]:
            if len(atoms) == hidden:
                known.write(out, axis, np.where(is_zero, 0.0, np.nan))


def _moves(op: ops.Operator) -> bool:
    """Whether the result holds elements of the input, or mean values of them."""
    return op.keeps_values or op.keeps_constants


_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(ops.names(lambda op: op.keeps_zeros), _only_zeros),
    **dict.fromkeys(ops.names(_moves), _move),
    **dict.fromkeys(ops.names(lambda op: op.is_elementwise), _pointwise),
    **dict.fromkeys(ops.names(lambda op: op.family is ops.Family.RECURRENT and not op.is_quantized), _recurrent),
    **dict.fromkeys(("Reshape", "DepthToSpace"), _take_apart),
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul"), _linear),
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    "Concat": _concat,
    "AveragePool": _average_pool,
    "Pad": _pad,
    "Dropout": _dropout,
    "BatchNormalization": _normalized,
    "InstanceNormalization": _normalized_by_itself,
}
