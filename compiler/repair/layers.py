"""Layers that are linear in their weights, as systems of equations: rows of inputs times a matrix.

For every layer, output = rows · weights + shift, with rows [groups, m, K] for m output positions, weights
[groups, K, M] and shift [groups, M]; the output's channels are the groups' M channels one after another.
`refittable_layers.py` finds them in a model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Constant, Node, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.weights import input_constant, input_value
from onnx_compress.compiler.repair.windows import Windows
from onnx_compress.compiler.storage.structure import Structure


@dataclass(frozen=True, eq=False)
class LinearLayer(ABC):
    """One layer.

    `source` is the value that `rows` takes, `result` the layer's output (after the Add, where a separate node adds
    the bias), `axis` the axis of its channels. `bias` is the node and slot that read the bias (the slot may be
    empty), None where the layer can't have one. `dtype` is the type in which weights are stored.
    """

    node: Node
    source: Variable
    result: Variable
    axis: int
    bias: tuple[Node, int] | None
    dtype: np.dtype

    free: ClassVar[str] = "weights"
    """What is solved for, in the report's words."""

    @abstractmethod
    def rows(self, x: np.ndarray, places: np.ndarray, outs: tuple[int, ...]) -> np.ndarray:
        """The inputs [groups, m, K] of the outputs at `places`, flat indices into `outs`: result's sizes but `axis`."""

    def offset(self, x: np.ndarray, places: np.ndarray) -> np.ndarray | None:
        """The part [m, channels] of the output at `places` that is not solved for; None for nothing."""
        return None

    @abstractmethod
    def weights(self) -> np.ndarray:
        """The present matrices [groups, K, M]."""

    def matrices(self, values: np.ndarray) -> np.ndarray:
        """Other `values`, of the weight's shape, as matrices [groups, K, M]."""
        raise NotImplementedError(f"the weights of {type(self).__name__} can't change")

    @property
    def weight(self) -> Constant | None:
        """The constant that holds the weights, None where they can't change."""
        return None

    @property
    def is_tied(self) -> bool:
        """Whether the weights have a codebook."""
        return self.known is not None and self.known.is_tied

    @property
    def known(self) -> Structure | None:
        """The structure of the weights' values."""
        return None if self.weight is None else self.weight.structure

    def renewed(self, values: np.ndarray) -> Structure | None:
        """The structure of new values."""
        return self.known.renewed(values) if self.known is not None and self.known.is_tied else None

    def shift(self) -> np.ndarray:
        """The present bias [groups, M]."""
        groups, _, width = self.weights().shape
        value = None if self.bias is None else input_value(*self.bias)
        if value is None:
            return np.zeros((groups, width))
        return np.broadcast_to(value.astype(np.float64).reshape(-1), (groups * width,)).reshape(groups, width)

    @abstractmethod
    def store(self, model: Model, weights: np.ndarray, shift: np.ndarray | None) -> None:
        """Write matrices [groups, K, M], and a bias [groups, M] unless None, into `model`."""

    def store_shift(self, model: Model, shift: np.ndarray | None) -> None:
        """Write the bias; a missing one is added unless it is zero."""
        if shift is None or self.bias is None:
            return
        node, slot = self.bias
        old = input_value(node, slot)
        values = shift.reshape(-1).astype(self.dtype if old is None else old.dtype)
        if old is None and not values.any():
            return
        if old is not None:
            shape = old.shape if old.size == values.size else values.shape
            edit.set_weight(model, node, slot, values.reshape(shape))
            return
        base = node.layer_name()
        edit.set_input(model, node, slot, edit.add_constant(model, base, "bias", values, graph=node.graph))


@dataclass(frozen=True, eq=False)
class Convolution(LinearLayer):
    """Conv and ConvTranspose of any dimension, stride, padding, dilation and number of groups; K = taps · channels."""

    windows: Windows
    groups: int

    def rows(self, x: np.ndarray, places: np.ndarray, outs: tuple[int, ...]) -> np.ndarray:
        """See the base."""
        patches = self.windows.gather(x, places, outs[1:])
        count, taps, channels = patches.shape
        split = patches.reshape(count, taps, self.groups, channels // self.groups)
        return split.transpose(2, 0, 1, 3).reshape(self.groups, count, -1)

    def weights(self) -> np.ndarray:
        """See the base."""
        return self.matrices(self._values())

    @property
    def weight(self) -> Constant | None:
        """See the base."""
        return input_constant(self.node, 1)

    def matrices(self, values: np.ndarray) -> np.ndarray:
        """See the base."""
        kernel = values.astype(np.float64)
        taps = prod(kernel.shape[2:])
        if self.windows.is_transposed:  # [groups · channels, M, *kernel]
            split = kernel.reshape(self.groups, -1, kernel.shape[1], taps).transpose(0, 3, 1, 2)
        else:  # [groups · M, channels, *kernel]
            split = kernel.reshape(self.groups, -1, kernel.shape[1], taps).transpose(0, 3, 2, 1)
        return split.reshape(self.groups, -1, split.shape[-1])

    def store(self, model: Model, weights: np.ndarray, shift: np.ndarray | None) -> None:
        """See the base."""
        old = self._values()
        taps = prod(old.shape[2:])
        split = weights.reshape(self.groups, taps, -1, weights.shape[-1])
        order = (0, 2, 3, 1) if self.windows.is_transposed else (0, 3, 2, 1)
        values = split.transpose(order).reshape(old.shape).astype(old.dtype)
        edit.set_weight(model, self.node, 1, values, structure=self.renewed(values))
        self.store_shift(model, shift)

    def _values(self) -> np.ndarray:
        values = input_value(self.node, 1)
        assert values is not None
        return values


@dataclass(frozen=True, eq=False)
class Product(LinearLayer):
    """MatMul with a constant matrix on either side, and Gemm: scale · X · W + shift, X transposed or not.

    `slot` is the matrix's input slot. With the matrix on the left (`axis` −2) the product is taken as (Xᵀ Wᵀ)ᵀ.
    """

    slot: int
    scale: float = 1.0
    shift_scale: float = 1.0
    is_input_transposed: bool = False
    is_weight_transposed: bool = False

    def rows(self, x: np.ndarray, places: np.ndarray, outs: tuple[int, ...]) -> np.ndarray:
        """See the base."""
        view = np.swapaxes(x, -1, -2) if self.is_input_transposed != (self.axis == -2) else x
        return view[np.unravel_index(places, view.shape[:-1])][None]

    def weights(self) -> np.ndarray:
        """See the base."""
        return self.matrices(self._values())

    @property
    def weight(self) -> Constant | None:
        """See the base."""
        return input_constant(self.node, self.slot)

    def matrices(self, values: np.ndarray) -> np.ndarray:
        """See the base."""
        scaled = values.astype(np.float64) * self.scale
        return (scaled.T if self._is_turned else scaled)[None]

    def shift(self) -> np.ndarray:
        """See the base."""
        return super().shift() * self.shift_scale

    def store(self, model: Model, weights: np.ndarray, shift: np.ndarray | None) -> None:
        """See the base."""
        old = self._values()
        matrix = weights[0] / self.scale
        values = (matrix.T if self._is_turned else matrix).astype(old.dtype)
        edit.set_weight(model, self.node, self.slot, values, structure=self.renewed(values))
        self.store_shift(model, None if shift is None else shift / self.shift_scale)

    @property
    def _is_turned(self) -> bool:
        return self.is_weight_transposed != (self.axis == -2)

    def _values(self) -> np.ndarray:
        values = input_value(self.node, self.slot)
        assert values is not None
        return values


@dataclass(frozen=True, eq=False)
class Shift(LinearLayer):
    """A layer of which only the bias is free, because its weights are stored in a form that must stay.

    Its `source` is its own result: the present weights applied to the compressed model's inputs.
    """

    width: int
    scale: float = 1.0

    free = "bias"

    def rows(self, x: np.ndarray, places: np.ndarray, outs: tuple[int, ...]) -> np.ndarray:
        """Rows without columns."""
        return np.zeros((1, len(places), 0))

    def offset(self, x: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The present output."""
        return sampled(x, self.axis, places)

    def weights(self) -> np.ndarray:
        """An empty matrix."""
        return np.zeros((1, 0, self.width))

    def shift(self) -> np.ndarray:
        """Zero: the present bias is in the present output."""
        return np.zeros((1, self.width))

    def store(self, model: Model, weights: np.ndarray, shift: np.ndarray | None) -> None:
        """Add `shift` to the bias."""
        if shift is not None:
            self.store_shift(model, super().shift() + shift / self.scale)


def sampled(values: np.ndarray, axis: int, places: np.ndarray) -> np.ndarray:
    """The channels [m, C] along `axis` at `places`, flat indices into the other axes."""
    view = np.moveaxis(values, axis, -1)
    return view[np.unravel_index(places, view.shape[:-1])]


def others(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """A shape without its channel axis."""
    return tuple(np.delete(shape, axis).tolist())
