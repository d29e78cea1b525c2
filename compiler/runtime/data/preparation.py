"""From a decoded picture to the input array of an image model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from onnx_compress.compiler.errors import DataError, UsageError
from onnx_compress.compiler.runtime.data.batch_layout import BatchLayout
from onnx_compress.compiler.runtime.feeds import fits
from onnx_compress.compiler.runtime.specs import Dim, TensorSpec, describe

MODES = {1: "L", 3: "RGB"}
"""Pillow's mode for a number of channels."""


@dataclass(frozen=True)
class PictureOptions:
    """How a picture becomes an input: (pixel · scale − mean) / std per channel, pixels from 0 to 255.

    Options that are None follow from the input: `size` (height, width) from its dimensions, or from the first picture;
    `layout` ('NCHW' or 'NHWC') from the axis with 1 or 3 channels; `scale` is 1/255 for a floating-point input and 1
    for integers. `fit` is 'crop' (scale to cover the size, then crop the center) or 'stretch'.
    """

    size: tuple[int, int] | None = None
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    layout: str | None = None
    scale: float | None = None
    fit: str = "crop"

    def __post_init__(self) -> None:
        if self.layout not in (None, "NCHW", "NHWC"):
            raise UsageError(f"pictures: layout must be NCHW or NHWC, not {self.layout!r}")
        if self.fit not in ("crop", "stretch"):
            raise UsageError(f"pictures: fit must be crop or stretch, not {self.fit!r}")
        if not all(self.std):
            raise UsageError("pictures: std must not contain 0")
        if self.size is not None and min(self.size) < 1:
            raise UsageError(f"pictures: size must be at least 1, not {list(self.size)}")


@dataclass(frozen=True)
class Preparation:
    """The arithmetic for the input `spec`, with all options resolved.

    `mean` and `std` have one value, or one per channel: shape [1] or [C].
    """

    spec: TensorSpec
    size: tuple[int, int]
    channels: int
    channels_first: bool
    scale: float
    mean: np.ndarray
    std: np.ndarray
    fit: str

    @classmethod
    def of(
        cls, layout: BatchLayout, options: PictureOptions, where: str, first_size: Callable[[], tuple[int, int]]
    ) -> Preparation:
        """Resolve `options`; `first_size` gives height and width of the first picture.

        Raises DataError if the model does not take pictures, or not in the form that the options give.
        """
        spec, shape = _image_input(layout, where)
        first = _channels_first(shape, options, where)
        count, height_width = (shape[1], shape[2:]) if first else (shape[3], shape[1:3])
        size = options.size or _fixed(height_width) or first_size()
        channels = count if isinstance(count, int) else 3
        if channels not in MODES or not fits(size, height_width):
            raise DataError(f"{where}: pictures of {list(size)} pixels do not match the input {spec}")
        is_float = spec.dtype is not None and spec.dtype.kind == "f"
        scale = options.scale if options.scale is not None else 1 / 255 if is_float else 1.0
        mean, std = (_per_channel(values, channels) for values in (options.mean, options.std))
        if not is_float and (scale != 1 or mean.any() or (std != 1).any()):
            raise DataError(f"{where}: scale, mean and std need a floating-point input, not {spec}")
        return cls(spec, size, channels, first, scale, mean, std, options.fit)

    def apply(self, picture: Image.Image) -> np.ndarray:
        """The sample, [C, H, W] or [H, W, C], in the type of the input."""
        pixels = np.asarray(self._fitted(picture.convert(MODES[self.channels])))
        pixels = pixels.reshape(*self.size, self.channels)
        if self.spec.dtype is not None and self.spec.dtype.kind == "f":
            pixels = (pixels * np.float32(self.scale) - self.mean) / self.std
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) if self.channels_first else pixels, self.spec.dtype)

    def size_for(self, layout: BatchLayout) -> tuple[int, int] | None:
        """The size of pictures for another input: None if that fixes it, otherwise the present one."""
        shape = (layout.inputs[0].shape if layout.inputs else None) or ()
        is_fixed = len(shape) == 4 and _fixed(shape[2:] if self.channels_first else shape[1:3]) is not None
        return None if is_fixed else self.size

    def _fitted(self, picture: Image.Image) -> Image.Image:
        width_height = self.size[::-1]
        if picture.size == width_height:
            return picture
        if self.fit == "crop":
            return ImageOps.fit(picture, width_height, Image.Resampling.BILINEAR)
        return picture.resize(width_height, Image.Resampling.BILINEAR)


def _image_input(layout: BatchLayout, where: str) -> tuple[TensorSpec, tuple[Dim, ...]]:
    """The only input and its shape, which must be a batch of images."""
    inputs = layout.inputs
    shape = inputs[0].shape if len(inputs) == 1 else None
    dtype = inputs[0].dtype if inputs else None
    if shape is None or len(shape) != 4 or not layout.batched or dtype is None:
        raise DataError(
            f"{where}: pictures need a model with one input of rank 4, but this one takes {describe(inputs)}"
        )
    if dtype.kind not in "fui" or not np.can_cast(np.uint8, dtype, "safe"):
        raise DataError(f"{where}: pixels from 0 to 255 do not fit into the input {inputs[0]}")
    return inputs[0], shape


def _channels_first(shape: Sequence[Dim], options: PictureOptions, where: str) -> bool:
    if options.layout is not None:
        return options.layout == "NCHW"
    if shape[1] in MODES or shape[3] in MODES:
        return shape[1] in MODES
    raise DataError(f"{where}: can't tell which axis of the input holds the channels: set layout to NCHW or NHWC")


def _fixed(height_width: Sequence[Dim]) -> tuple[int, int] | None:
    height, width = height_width
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _per_channel(values: Sequence[float], channels: int) -> np.ndarray:
    if len(values) not in (1, channels):
        raise UsageError(f"pictures: {len(values)} values of mean or std for {channels} channels")
    return np.asarray(values, np.float32)
