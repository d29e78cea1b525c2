"""A folder or zip of pictures as samples; see `gallery` for the files and `preparation` for the arithmetic."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image, UnidentifiedImageError

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.runtime.data.batch_layout import BatchLayout
from onnx_compress.compiler.runtime.data.gallery import Gallery, ReadFile
from onnx_compress.compiler.runtime.data.preparation import PictureOptions, Preparation
from onnx_compress.compiler.runtime.data.source import Feeds, chunks

DECODERS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "PPM")
"""The only decoders that files may use, whatever their bytes claim."""
MAX_PIXELS = 1 << 26


class PictureSource:
    """The pictures of a gallery for a model with one image input; class folders are the labels."""

    real = True

    def __init__(self, layout: BatchLayout, path: Path, options: PictureOptions) -> None:
        self.layout = layout
        self.origin = str(path)
        self.options = options
        self._gallery = Gallery.of(path)
        self._preparation = Preparation.of(layout, options, self.origin, self._first_size)

    @property
    def labels(self) -> np.ndarray | None:
        """Class numbers, int64; None without class folders."""
        return self._gallery.labels

    def __len__(self) -> int:
        return len(self._gallery.names)

    def read(self, indices: np.ndarray, size: int) -> Iterator[tuple[Feeds, int]]:
        """See `Source.read`; pictures are decoded as they are read."""
        name, prepare = self._preparation.spec.name, self._preparation.apply
        with self._gallery.reader() as read_file:
            for chosen in chunks(indices, size):
                yield {name: np.stack([prepare(self._open(read_file, i)) for i in chosen])}, len(chosen)

    def for_layout(self, layout: BatchLayout) -> Self:
        """See `Source.for_layout`; pictures are read at the new input's size, or at the present one if it varies."""
        twin = copy(self)
        twin.layout = layout
        twin.options = replace(self.options, size=self._preparation.size_for(layout))
        twin._preparation = Preparation.of(layout, twin.options, self.origin, self._first_size)
        return twin

    def _open(self, read_file: ReadFile, index: int) -> Image.Image:
        return decoded(read_file(index), f"{self.origin}: '{self._gallery.names[index]}'")

    def _first_size(self) -> tuple[int, int]:
        with self._gallery.reader() as read_file:
            picture = self._open(read_file, 0)
        return picture.height, picture.width


def decoded(data: bytes, where: str) -> Image.Image:
    """The picture in `data`; its size is checked before pixels are decoded. Raises DataError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=DECODERS)
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(f"{where} has {picture.width}×{picture.height} pixels: too large")
            picture.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(f"{where} has too many pixels") from None
    except UnidentifiedImageError:
        raise DataError(f"{where} can't be decoded as a picture ({', '.join(DECODERS)})") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{where} can't be decoded as a picture: {error}") from None
    if picture.mode.startswith(("I", "F")):
        raise DataError(f"{where} has more than 8 bits per channel: use .npz for such data")
    return picture
