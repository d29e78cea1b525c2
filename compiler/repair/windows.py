"""The input positions of a convolution: one for each output position and kernel tap.

An output position p of one spatial axis reads, with tap k, the input position

    Conv            p·stride + k·dilation − pad
    ConvTranspose   (p + pad − k·dilation) / stride, where that is an integer

and zero outside the input. Both are tables of indices, one per axis, so that patches are gathered in the same way
for any operator, stride, padding, dilation and number of dimensions. The index one past the last input position
means zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from onnx_compress.compiler.ir.graph import Node

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """The geometry of a Conv or ConvTranspose from its attributes; one entry per spatial axis."""

    kernel: Sizes
    stride: Sizes
    dilation: Sizes
    pads: Sizes
    """Explicit padding at the beginning of each axis."""
    output_padding: Sizes
    auto_pad: str
    is_transposed: bool
    has_output_shape: bool

    @classmethod
    def of(cls, node: Node, kernel: Sizes) -> Windows:
        """The geometry of `node`, with a kernel of size `kernel`."""
        rank = len(kernel)
        ones, zeros = (1,) * rank, (0,) * rank
        return cls(
            kernel=kernel,
            stride=tuple(node.attrs.get("strides", ones)),
            dilation=tuple(node.attrs.get("dilations", ones)),
            pads=tuple(node.attrs.get("pads", zeros + zeros))[:rank],
            output_padding=tuple(node.attrs.get("output_padding", zeros)),
            auto_pad=str(node.attrs.get("auto_pad", "NOTSET")),
            is_transposed=node.op == "ConvTranspose",
            has_output_shape="output_shape" in node.attrs,
        )

    def taps(self, axis: int, size: int, out: int) -> np.ndarray:
        """Input positions [out, kernel] along a spatial axis of `size` inputs and `out` outputs; `size` means zero."""
        places, taps = np.arange(out)[:, None], np.arange(self.kernel[axis])[None] * self.dilation[axis]
        if not self.is_transposed:
            found = places * self.stride[axis] + taps - self._begin(axis, size, out)
            return np.where((found >= 0) & (found < size), found, size)
        found, rest = np.divmod(places + self._begin(axis, size, out) - taps, self.stride[axis])
        return np.where((rest == 0) & (found >= 0) & (found < size), found, size)

    def _begin(self, axis: int, size: int, out: int) -> int:
        """Padding at the beginning of an axis."""
        is_automatic = self.auto_pad in ("SAME_UPPER", "SAME_LOWER")
        if not is_automatic and not self.has_output_shape:
            return 0 if self.auto_pad == "VALID" else self.pads[axis]
        extent = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        if self.is_transposed:
            total = (size - 1) * self.stride[axis] + self.output_padding[axis] + extent - out
        else:
            total = (out - 1) * self.stride[axis] + extent - size
        smaller = max(total, 0) // 2
        return smaller if self.auto_pad == "SAME_UPPER" else max(total, 0) - smaller

    def gather(self, x: np.ndarray, places: np.ndarray, outs: Sequence[int]) -> np.ndarray:
        """The patches under some output positions.

        `x` is [batch, channels, *sizes]; `places` are flat indices [rows] into the output's [batch, *outs].
        The result is [rows, taps, channels], taps in the order of the kernel's elements.
        """
        sizes = x.shape[2:]
        padded = np.zeros((x.shape[0], *(size + 1 for size in sizes), x.shape[1]), x.dtype)
        padded[(slice(None), *(slice(size) for size in sizes))] = np.moveaxis(x, 1, -1)
        wider = [size + 1 for size in sizes]
        flat = np.ravel_multi_index(self._indices((x.shape[0], *sizes), places, outs), (x.shape[0], *wider))
        return padded.reshape(-1, x.shape[1])[flat.reshape(len(places), prod(self.kernel))]

    def positions(
        self, outs_before: Sequence[int], places: np.ndarray, outs: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Flat indices [rows, taps] into the input's [batch, *sizes] = `outs_before`, and which of them mean zero."""
        samples, *axes = self._indices(outs_before, places, outs)
        inside = [np.minimum(index, size - 1) for index, size in zip(axes, outs_before[1:])]
        flat = np.ravel_multi_index((samples, *inside), tuple(outs_before))
        is_outside = np.any([index == size for index, size in zip(axes, outs_before[1:])], axis=0)
        return flat.reshape(len(places), -1), is_outside.reshape(len(places), -1)

    def _indices(self, shape: Sequence[int], places: np.ndarray, outs: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Indices into [batch, *sizes] = `shape`, each [rows, *kernel]; one that equals its size means zero."""
        rank = len(self.kernel)
        samples, *positions = np.unravel_index(places, (shape[0], *outs))
        found = [samples.reshape(-1, *(1,) * rank)]
        for axis, (size, out) in enumerate(zip(shape[1:], outs)):
            row = [len(places), *(1,) * rank]
            row[axis + 1] = -1
            found.append(self.taps(axis, size, out)[positions[axis]].reshape(row))
        return tuple(np.broadcast_arrays(*found))
