"""A user-defined metric: `module:function(outputs, labels) -> float`."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping

import numpy as np

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.runtime.metrics.score import Score
from onnx_compress.compiler.runtime.outputs import IN_MEMORY, Recording


class FunctionTally:
    """Keeps all outputs, on disk if they are large, and passes them to `function` at the end.

    The function gets a dict of arrays with samples along axis 0 (a list of arrays if their shapes differ between
    batches) and the labels, or None. It returns points, higher is better: 87.5, not 0.875.
    """

    def __init__(self, name: str, function: Callable[..., object]) -> None:
        self._name = name
        self._function = function
        self._outputs = Recording()
        self._labels: list[np.ndarray] = []
        self._samples = 0

    def add(
        self,
        outputs: Mapping[str, np.ndarray],
        count: int,
        labels: np.ndarray | None,
        original: Mapping[str, np.ndarray],
    ) -> None:
        """See `metric.Tally`."""
        self._samples += count
        self._outputs.append(dict(outputs))
        if labels is not None:
            self._labels.append(labels)

    def score(self) -> Score:
        """See `metric.Tally`. Raises DataError if the function fails or its result is not finite."""
        labels = np.concatenate(self._labels) if self._labels else None
        try:
            value = float(self._function(self._joined(), labels))  # type: ignore[arg-type]
        except Exception as error:  # user code may raise anything
            raise DataError(f"metric {self._name} failed: {type(error).__name__}: {error}") from error
        if not math.isfinite(value):
            raise DataError(f"metric {self._name} returned {value}, which can't be compared")
        return Score(self._name, value, self._samples)

    def _joined(self) -> dict[str, np.ndarray | list[np.ndarray]]:
        shapes: dict[str, list[tuple[int, ...]]] = {}
        for arrays in self._outputs:
            for name, array in arrays.items():
                shapes.setdefault(name, []).append(array.shape)
        return {name: self._one(name, found) for name, found in shapes.items()}

    def _one(self, name: str, shapes: list[tuple[int, ...]]) -> np.ndarray | list[np.ndarray]:
        parts = (arrays[name] for arrays in self._outputs if name in arrays)
        if len({shape[1:] for shape in shapes}) > 1 or () in shapes:
            return list(parts)
        joined: np.ndarray | None = None
        start = 0
        for part in parts:
            if joined is None:
                joined = _space((sum(shape[0] for shape in shapes), *part.shape[1:]), part.dtype)
            joined[start : start + len(part)] = part
            start += len(part)
        return np.zeros(0) if joined is None else joined


def _space(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array to fill, in an unnamed file if it is large."""
    if dtype.kind == "O" or math.prod(shape) * dtype.itemsize <= IN_MEMORY:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", 0, shape)
