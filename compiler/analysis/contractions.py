"""Layers that sum over channels with a constant weight, and the channels that each result depends on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnx_compress.compiler.analysis.channels.walk import Walk
from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Node, Tensor
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import constant_of, input_constant, input_value


@dataclass(frozen=True, eq=False)
class Contraction:
    """y[r] = Σ_c W[r, c] ∗ x[c] within each of `groups`; W is the constant that `node` reads at `slot`.

    c indexes `source` along `axis`, r indexes `result` along `result_axis` (`result` is None if the results are not a
    tensor, like the gates of an LSTM). `out_axis` and `in_axis` are axes of W; without `out_axis` W is a vector.
    `rows` and `columns` are the atoms of r and c, None if the whole axis is fixed.
    """

    node: Node
    slot: int
    source: Tensor
    axis: int
    result: Tensor | None
    result_axis: int
    out_axis: int | None
    in_axis: int
    groups: int
    rows: np.ndarray | None
    columns: np.ndarray | None

    def blocks(self) -> np.ndarray:
        """W as [groups, rows of a group, columns of a group, taps]."""
        values = input_value(self.node, self.slot)
        assert values is not None
        if values.dtype.kind == "V":  # bfloat16 and similar types, which NumPy can't sum
            values = values.astype(np.float32)
        if self.out_axis is None:
            return values.reshape(1, 1, -1, 1)
        matrix = np.moveaxis(values, (self.out_axis, self.in_axis), (0, 1))
        if self.node.op == "ConvTranspose":  # [rows of a group, all columns, …]
            grouped = matrix.reshape(len(matrix), self.groups, matrix.shape[1] // self.groups, -1)
            return np.moveaxis(grouped, 1, 0)
        return matrix.reshape(self.groups, len(matrix) // self.groups, matrix.shape[1], -1)

    @cached_property
    def nonzero(self) -> np.ndarray:
        """Whether row r has a non-zero weight for column c: bool [groups, rows of a group, columns of a group]."""
        return np.asarray(self.blocks().any(3))

    @property
    def size(self) -> tuple[int, int]:
        """Numbers of rows and columns in all groups together."""
        constant = input_constant(self.node, self.slot)
        assert constant is not None
        shape, is_transposed = constant.stored.shape, self.node.op == "ConvTranspose"
        rows = 1 if self.out_axis is None else shape[self.out_axis] * (self.groups if is_transposed else 1)
        return rows, shape[self.in_axis] * (1 if is_transposed else self.groups)

    @property
    def is_uniform(self) -> bool:
        """Whether a constant input channel adds the same to every element of a result.

        Not with padding, whose zeros enter only some of the sums, and not for ConvTranspose, whose results don't all
        see the same taps.
        """
        if self.node.op == "Conv":
            return not pads(self.node)
        weight = input_constant(self.node, self.slot)
        is_product = ops.of(self.node).family is ops.Family.PRODUCT
        return is_product and weight is not None and len(weight.stored.shape) == 2

    def of_constants(self, values: np.ndarray) -> np.ndarray:
        """The contribution of constant input channels with these values: float64 [rows], for uniform layers."""
        by_group = values.reshape(self.groups, 1, -1)
        columns = np.flatnonzero(by_group.any((0, 1)))
        sums = self.blocks()[:, :, columns].sum(3, dtype=np.float64)
        total = (sums * by_group[:, :, columns]).sum(2).reshape(-1)
        return np.asarray(total * self.node.attrs.get("alpha", 1.0))


def pads(node: Node) -> bool:
    """Whether a Conv or pool pads its input."""
    return any(node.attrs.get("pads", ())) or node.attrs.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")


class Axes:
    """The tracked axes of the tensors that nodes read, from a finished walk; for a constant, its places."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self._places: dict[tuple[Node, int], dict[int, np.ndarray]] = {}
        for place in walk.places:
            self._places.setdefault((place.node, place.slot), {})[place.axis] = place.atoms

    def read(self, node: Node, slot: int) -> dict[int, np.ndarray]:
        """The atoms of each tracked axis of an input."""
        tensor = node.inputs[slot]
        return self.of(tensor) if constant_of(tensor) is None else self._places.get((node, slot), {})

    def of(self, tensor: Tensor) -> dict[int, np.ndarray]:
        """The atoms of each tracked axis of a computed value."""
        found = self.walk.axes.get(tensor, [])
        return {i: axis for i, axis in enumerate(found) if isinstance(axis, np.ndarray)}

    def rank(self, tensor: Tensor) -> int:
        """The rank of a value; 0 if unknown."""
        constant = constant_of(tensor)
        return len(self.walk.axes.get(tensor, [])) if constant is None else len(constant.stored.shape)


def contractions(model: Model, walk: Walk) -> list[Contraction]:
    """Every layer of the model, including bodies, that sums over channels with a constant weight."""
    axes = Axes(walk)
    return [found for node in model.nodes() if ops.of(node).contracts for found in _of(node, axes)]


def _of(node: Node, axes: Axes) -> Iterator[Contraction]:
    facts = ops.of(node)
    if facts.family is ops.Family.RECURRENT and not facts.is_quantized:
        yield from _recurrent(node, axes)
        return
    layout = _LAYOUTS.get(ops.key(node))
    slot = 1 if input_constant(node, 1) is not None else 0
    weight = input_constant(node, slot)
    if layout is None or weight is None or slot not in facts.weights:
        return
    source, result = node.inputs[1 - slot], node.outputs[0]
    ranks = len(weight.stored.shape), axes.rank(source), axes.rank(result)
    out_axis, in_axis, axis, result_axis = layout(node, slot, *ranks)
    yield Contraction(
        node=node,
        slot=slot,
        source=source,
        axis=axis,
        result=result,
        result_axis=result_axis,
        out_axis=out_axis,
        in_axis=in_axis,
        groups=node.attrs.get("group", 1) if facts.family is ops.Family.CONVOLUTION else 1,
        rows=None if out_axis is None else axes.of(result).get(result_axis),
        columns=axes.read(node, 1 - slot).get(axis),
    )


_Layout = tuple[int | None, int, int, int]
"""Four axes: of the weight, its output and its summed axis; then the source's and the result's."""


def _conv(node: Node, slot: int, rank: int, source: int, result: int) -> _Layout:
    return 0, 1, 1, 1


def _conv_transpose(node: Node, slot: int, rank: int, source: int, result: int) -> _Layout:
    return 1, 0, 1, 1


def _gemm(node: Node, slot: int, rank: int, source: int, result: int) -> _Layout:
    flips = [bool(node.attrs.get("transA")), bool(node.attrs.get("transB"))]
    if slot == 1:
        return (0, 1, int(not flips[0]), 1) if flips[1] else (1, 0, int(not flips[0]), 1)
    return (1, 0, int(flips[1]), 0) if flips[0] else (0, 1, int(flips[1]), 0)


def _matmul(node: Node, slot: int, rank: int, source: int, result: int) -> _Layout:
    if slot == 1:
        return (None, 0, source - 1, -1) if rank == 1 else (rank - 1, rank - 2, source - 1, result - 1)
    axis = source - min(source, 2)
    return (None, 0, axis, -1) if rank == 1 else (rank - 2, rank - 1, axis, result - min(source, 2))


_LAYOUTS = {"Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MatMul": _matmul}


def _recurrent(node: Node, axes: Axes) -> Iterator[Contraction]:
    """W [D, gates·H, I] multiplies the input, R [D, gates·H, H] the states, which the node itself computes."""
    if any(input_constant(node, slot) is None for slot in (1, 2)):
        return
    computed = next(out for out in node.outputs if out.name)
    of_states = axes.rank(computed) - 1
    rows = [axes.read(node, slot).get(1) for slot in (1, 2)]
    yield Contraction(node, 1, node.inputs[0], 2, None, -1, 1, 2, 1, rows[0], axes.read(node, 0).get(2))
    yield Contraction(node, 2, computed, of_states, None, -1, 1, 2, 1, rows[1], axes.read(node, 2).get(2))
