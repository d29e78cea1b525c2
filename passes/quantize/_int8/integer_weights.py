"""Weights as 8-bit integers, rounded once for all candidate models of a run, which then share the arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnx_compress.compiler.ir.graph import Constant
from onnx_compress.passes.quantize._weights.rounding import Rounded, round_groups

MIDDLE = 128
"""The zero point of unsigned weights."""


@dataclass(frozen=True)
class IntegerWeight:
    """`integers` of the weight's shape and the scales, float32 [channels] or [1]; `zero` is the zero point of all."""

    integers: np.ndarray
    scales: np.ndarray
    zero: int


@dataclass(frozen=True)
class IntegerWeights:
    """The rounded weights of all copies of one model, by the values that the copies share."""

    per_channel: bool = True
    bits: int = 8
    _known: dict[tuple[Any, ...], tuple[object, IntegerWeight]] = field(default_factory=dict)
    """Each with the stored values, which keeps their identity from being reused."""

    def of(self, weight: Constant, axis: int, dtype: np.dtype, least: np.ndarray | None = None) -> IntegerWeight:
        """The weight with the scales of least squared error, none below `least` [channels] or [1].

        `axis` is that of the output channels.
        """
        natural = self._recalled(weight, axis, dtype, None)
        if least is None or not np.any(least > natural.scales):
            return natural
        return self._recalled(weight, axis, dtype, least)

    def _recalled(self, weight: Constant, axis: int, dtype: np.dtype, least: np.ndarray | None) -> IntegerWeight:
        stored = weight.stored
        key = (id(stored), axis, dtype, b"" if least is None else least.tobytes())
        if key not in self._known:
            self._known[key] = stored, self._stored(weight, axis, dtype, self._rounded(weight, axis, least))
        return self._known[key][1]

    def _rounded(self, weight: Constant, axis: int, least: np.ndarray | None) -> Rounded:
        values = weight.values
        groups = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
        return round_groups(groups if self.per_channel else groups.reshape(1, -1), self.bits, least=least)

    def _stored(self, weight: Constant, axis: int, dtype: np.dtype, rounded: Rounded) -> IntegerWeight:
        moved = (weight.shape[axis], *np.delete(weight.shape, axis))
        integers = np.moveaxis(rounded.integers.reshape(moved), 0, axis)
        zero = 0 if dtype == np.int8 else MIDDLE
        shifted = integers if zero == 0 else integers.astype(np.int16) + zero
        return IntegerWeight(np.ascontiguousarray(shifted, dtype), rounded.scales, zero)
