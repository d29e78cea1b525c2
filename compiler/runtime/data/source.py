"""The interface of sources of samples; checks of arrays against the inputs of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, Self, TypeAlias

import numpy as np

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.runtime.data.batch_layout import BatchLayout
from onnx_compress.compiler.runtime.feeds import fits
from onnx_compress.compiler.runtime.specs import Dim, TensorSpec, bracketed

LABELS = "labels"
"""Name of the labels among the inputs."""
REMEDY = "give arrays for the new inputs, or pictures (a folder or zip), which are read at any size"
"""What to do if a pass changes the model's inputs and arrays no longer fit."""

Feeds: TypeAlias = dict[str, np.ndarray]


class Source(Protocol):
    """Samples that can be read repeatedly, but not all at once.

    `real` is False for synthetic inputs; `labels` has an entry per sample, or is None; `origin` names the source in
    messages and reports.
    """

    origin: str
    real: bool
    layout: BatchLayout

    @property
    def labels(self) -> np.ndarray | None:
        """One entry per sample along axis 0; None without labels."""

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray, size: int) -> Iterator[tuple[Feeds, int]]:
        """Feeds of the samples at `indices`, in that order, at most `size` at a time, with their number."""

    def for_layout(self, layout: BatchLayout) -> Self:
        """The same samples for a model with other inputs. Raises DataError if they do not fit, with the remedy."""


def expected(layout: BatchLayout) -> str:
    """The expected data for a model, for messages: names, types, and shapes with 'samples' first."""
    inputs = [_expected_input(layout, spec) for spec in layout.inputs]
    return "; ".join([*inputs, f"{LABELS} (optional): one per sample"])


def check_array(layout: BatchLayout, spec: TensorSpec, array: np.ndarray, where: str) -> None:
    """Raise DataError unless type, rank and fixed dimensions of `array` match samples for the input `spec`."""
    if not _converts(array.dtype, spec.dtype):
        raise DataError(
            f"{where}: '{spec.name}' is {array.dtype}, which can't be converted to {spec.dtype} without "
            f"loss; expected {expected(layout)}"
        )
    if not (is_shared(layout, spec, array) or fits(array.shape, samples_shape(layout, spec))):
        raise DataError(f"{where}: '{spec.name}' has shape {list(array.shape)}; expected {expected(layout)}")


def samples_shape(layout: BatchLayout, spec: TensorSpec) -> tuple[Dim, ...] | None:
    """The shape of an array with samples along axis 0 for the input `spec`."""
    if spec.shape is None:
        return None
    return (None, *(spec.shape[1:] if spec.name in layout.batched else spec.shape))


def is_shared(layout: BatchLayout, spec: TensorSpec, array: np.ndarray) -> bool:
    """Whether `array` is one value of a whole input, for all samples."""
    return spec.name not in layout.batched and spec.shape is not None and fits(array.shape, spec.shape)


def converted(array: np.ndarray, dtype: np.dtype | None) -> np.ndarray:
    """`array` in the type of an input; `check_array` ensures that this is lossless."""
    if dtype is not None and dtype.kind == "O" and array.dtype.kind != "O":
        return array.astype(str).astype(object)
    return np.ascontiguousarray(array, dtype) if array.ndim else np.asarray(array, dtype)


def _converts(given: np.dtype, wanted: np.dtype | None) -> bool:
    if wanted is None:
        return False
    if wanted.kind == "O":
        return given.kind in "USO"
    return given.kind not in "USO" and np.can_cast(given, wanted, "safe")


def _expected_input(layout: BatchLayout, spec: TensorSpec) -> str:
    shape = samples_shape(layout, spec)
    if shape is None or spec.dtype is None:
        return str(spec)
    once = "" if spec.name in layout.batched else ", or once for all samples without that axis"
    return f"{spec.name}: {spec.element} {bracketed(('samples', *shape[1:]))}{once}"


def chunks(indices: Sequence[int] | np.ndarray, size: int) -> Iterator[np.ndarray]:
    """`indices` in runs of `size`, the last one shorter."""
    for start in range(0, len(indices), size):
        yield np.asarray(indices[start : start + size])
