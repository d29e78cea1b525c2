"""Samples in arrays, in memory or mapped from a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Self

import numpy as np

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.runtime.data.batch_layout import BatchLayout
from onnx_compress.compiler.runtime.data.source import (
    LABELS,
    REMEDY,
    Feeds,
    check_array,
    chunks,
    converted,
    expected,
    is_shared,
)


class ArraySource:
    """One array per input, under the input's name, with samples along axis 0, and optionally `labels`.

    An input without a batch may be given once, in its declared shape, for all samples. Arrays are converted as they
    are read, so that mapped ones stay on disk.
    """

    real = True

    def __init__(self, layout: BatchLayout, arrays: Mapping[str, np.ndarray], origin: str) -> None:
        self.layout = layout
        self.origin = origin
        names = {spec.name for spec in layout.inputs}
        self._arrays = {name: array for name, array in arrays.items() if name in names}
        self._labels = arrays.get(LABELS) if LABELS not in names else None
        self._check_names(arrays, names)
        for spec in layout.inputs:
            check_array(layout, spec, self._arrays[spec.name], origin)
        self._shared = {spec.name for spec in layout.inputs if is_shared(layout, spec, self._arrays[spec.name])}
        self._count = self._agreed_count()
        self._one_by_one = bool(names - self._shared - layout.batched)

    @property
    def labels(self) -> np.ndarray | None:
        """The array `labels`; a single column is flattened."""
        if self._labels is None:
            return None
        labels = np.asarray(self._labels)
        return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels

    def __len__(self) -> int:
        return self._count

    def read(self, indices: np.ndarray, size: int) -> Iterator[tuple[Feeds, int]]:
        """See `Source.read`; one sample at a time if an input without a batch varies."""
        for chosen in chunks(indices, 1 if self._one_by_one else size):
            yield {spec.name: self._rows(spec.name, spec.dtype, chosen) for spec in self.layout.inputs}, len(chosen)

    def for_layout(self, layout: BatchLayout) -> Self:
        """See `Source.for_layout`; arrays are never resized."""
        labels = {} if self._labels is None else {LABELS: self._labels}
        try:
            return type(self)(layout, {**self._arrays, **labels}, self.origin)
        except DataError as error:
            raise DataError(f"{error}; {REMEDY}") from None

    @property
    def sample_bytes(self) -> int:
        """Size in bytes of one sample, without the values given once for all."""
        varying = (array.nbytes for name, array in self._arrays.items() if name not in self._shared)
        return sum(varying) // self._count

    def _rows(self, name: str, dtype: np.dtype | None, chosen: np.ndarray) -> np.ndarray:
        array = self._arrays[name]
        if name in self._shared:
            return converted(array, dtype)
        return converted(array[chosen] if name in self.layout.batched else array[chosen[0]], dtype)

    def _check_names(self, arrays: Mapping[str, np.ndarray], names: set[str]) -> None:
        missing = [name for name in (spec.name for spec in self.layout.inputs) if name not in arrays]
        surplus = [name for name in arrays if name not in names and name != LABELS]
        if missing:
            raise DataError(f"{self.origin}: array '{missing[0]}' is missing; expected {expected(self.layout)}")
        if surplus:
            raise DataError(f"{self.origin}: '{surplus[0]}' is not an input; expected {expected(self.layout)}")

    def _agreed_count(self) -> int:
        counts = {name: len(array) for name, array in self._arrays.items() if name not in self._shared}
        if self._labels is not None:
            counts[LABELS] = len(self._labels) if np.ndim(self._labels) else 0
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"'{name}' {count}" for name, count in counts.items())
            raise DataError(f"{self.origin}: the arrays hold different numbers of samples: {listed}")
        count = next(iter(counts.values()), 1)
        if count == 0:
            raise DataError(f"{self.origin}: no samples")
        return count
