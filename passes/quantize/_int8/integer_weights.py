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

    bits: int = 8
    _known: dict[tuple[Any, ...], tuple[object, IntegerWeight]] = field(default_factory=dict)
    """Each with the stored values, which keeps their identity from being reused."""

    def of(
        self,
        weight: Constant,
        axis: int,
        dtype: np.dtype,
        least: np.ndarray | None = None,
        *,
        per_channel: bool = True,
    ) -> IntegerWeight:
        """The weight with the scales of least squared error, none below `least` [channels] or [1].

        `axis` is that of the output channels, each with its own scale if `per_channel`.
        """
        natural = self._recalled(weight, axis, dtype, None, per_channel)
        if least is None or not np.any(least > natural.scales):
            return natural
        return self._recalled(weight, axis, dtype, least, per_channel)

    def _recalled(
        self, weight: Constant, axis: int, dtype: np.dtype, least: np.ndarray | None, per_channel: bool
    ) -> IntegerWeight:
        stored = weight.stored
        key = (id(stored), axis, dtype, b"" if least is None else least.tobytes(), per_channel)
        if key not in self._known:
            rounded = round_groups(_groups(weight, axis, per_channel), self.bits, least=least)
            self._known[key] = stored, self._stored(weight, axis, dtype, rounded)
        return self._known[key][1]

    def _stored(self, weight: Constant, axis: int, dtype: np.dtype, rounded: Rounded) -> IntegerWeight:
        moved = (weight.shape[axis], *np.delete(weight.shape, axis))
        integers = np.moveaxis(rounded.integers.reshape(moved), 0, axis)
        zero = 0 if dtype == np.int8 else MIDDLE
        shifted = integers if zero == 0 else integers.astype(np.int16) + zero
        return IntegerWeight(np.ascontiguousarray(shifted, dtype), rounded.scales, zero)


def _groups(weight: Constant, axis: int, per_channel: bool) -> np.ndarray:
    values = weight.values
    groups = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    return groups if per_channel else groups.reshape(1, -1)
