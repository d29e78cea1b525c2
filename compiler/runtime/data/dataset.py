"""Samples for calibrating and measuring: loading, splitting and batching."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import numpy as np

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.runtime.data.arrays import ArraySource
from onnx_compress.compiler.runtime.data.batch_layout import BatchLayout
from onnx_compress.compiler.runtime.data.npz import read_npy, read_npz
from onnx_compress.compiler.runtime.data.pictures import PictureSource
from onnx_compress.compiler.runtime.data.preparation import PictureOptions
from onnx_compress.compiler.runtime.data.source import Source, expected
from onnx_compress.compiler.runtime.data.stream import BatchFunction, StreamSource, imported
from onnx_compress.compiler.runtime.specs import TensorSpec

DataLike: TypeAlias = "Dataset | Mapping[str, np.ndarray] | BatchFunction | Path | str"


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples for one run.

    `feeds` are the inputs of a session. They hold `count` samples; for a model with a fixed batch the last sample is
    repeated to fill it. `labels` has `count` entries, or is None.
    """

    feeds: dict[str, np.ndarray]
    count: int
    labels: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Dataset:
    """An immutable collection of samples that is never in memory as a whole.

    `indices` (int64) are its samples in `source`, in the order in which they are read.
    """

    source: Source
    indices: np.ndarray

    @classmethod
    def of(cls, source: Source) -> Dataset:
        """All samples of `source`."""
        return cls(source, np.arange(len(source)))

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def key(self) -> tuple[int, str]:
        """Tells these samples from others while both exist."""
        return id(self.source), sha256(np.ascontiguousarray(self.indices).tobytes()).hexdigest()

    @property
    def real(self) -> bool:
        """Whether the user gave the samples; False for synthetic inputs, on which accuracy is meaningless."""
        return self.source.real

    @property
    def layout(self) -> BatchLayout:
        """How samples go into the inputs of the model."""
        return self.source.layout

    @cached_property
    def labels(self) -> np.ndarray | None:
        """One label per sample, in the order of the batches; None without labels."""
        labels = self.source.labels
        return None if labels is None else labels[self.indices]

    def runs(self, size: int = 32) -> Iterator[Batch]:
        """The samples in batches of at most `size`, in a fixed order; smaller if the model requires it.

        Raises DataError for NaN: calibrating or measuring on it would be meaningless.
        """
        done = 0
        for feeds, count in self.source.read(self.indices, self.layout.run_size(size)):
            if self.real:
                _refuse_nan(feeds, self.source.origin)
            labels = None if self.labels is None else self.labels[done : done + count]
            yield Batch(self.layout.padded(feeds, count), count, labels)
            done += count

    def batches(self, size: int = 32) -> Iterator[dict[str, np.ndarray]]:
        """The feeds of `runs`, for callers that tolerate a repeated last sample."""
        for batch in self.runs(size):
            yield batch.feeds

    def take(self, count: int, seed: int = 0) -> Dataset:
        """`count` samples drawn at random, all if there are fewer; a smaller draw is a subset of a larger one.

        Not the first ones: folders and many files are sorted by class.
        """
        if count >= len(self):
            return self
        return Dataset(self.source, self._ordered(self._shuffled(seed)[: max(1, count)]))

    def split(self, held_out: float = 0.25, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Two disjoint parts: one for calibrating, and the share `held_out` for measuring; see `parts`."""
        calibration, measuring = self.parts(held_out, seed=seed)
        return calibration, measuring

    def parts(self, *shares: float, seed: int = 0) -> tuple[Dataset, ...]:
        """Disjoint parts: the rest first, then one for each of `shares`, as for measuring and for early stopping.

        They depend only on the number of samples and `seed`; a further share takes from the rest alone. Each part has
        at least one sample: if there are too few, the last shares get those of the rest.
        """
        if len(self) == 1:
            return (self,) * (1 + len(shares))
        order, start, found = self._shuffled(seed), 0, []
        for share in shares:
            count = min(max(1, round(share * len(self))), len(self) - 1 - start)
            found.append(order[start : start + count])
            start += count
        rest = order[start:]
        return tuple(Dataset(self.source, self._ordered(part if len(part) else rest)) for part in (rest, *found))

    def shuffled(self, rng: np.random.Generator) -> Dataset:
        """The same samples in a random order, as for one epoch of training."""
        return Dataset(self.source, rng.permutation(self.indices))

    def for_inputs(self, inputs: Sequence[TensorSpec]) -> Dataset:
        """The same samples for a model with these inputs; itself if they are those that it was loaded for.

        Pictures are read again at the size of the new input, synthetic samples drawn again. Raises DataError if arrays
        do not fit, with the remedy.
        """
        layout = _layout(inputs)
        if layout == self.layout:
            return self
        if layout not in self._for_layouts:
            self._for_layouts[layout] = Dataset(self.source.for_layout(layout), self.indices)
        return self._for_layouts[layout]

    @cached_property
    def _for_layouts(self) -> dict[BatchLayout, Dataset]:
        return {}

    def _shuffled(self, seed: int) -> np.ndarray:
        return np.random.default_rng([seed, len(self)]).permutation(len(self))

    def _ordered(self, chosen: np.ndarray) -> np.ndarray:
        return np.asarray(self.indices[np.sort(chosen)])


def load(data: DataLike, inputs: Sequence[TensorSpec], *, pictures: PictureOptions | None = None) -> Dataset:
    """Load the samples of `data` and check them against the `inputs` of a model.

    Args:
        data: a `.npz` of arrays named like the inputs, a `.npy` for a model with one input, a folder or zip of
            pictures, or 'module:function'; in Python also a dict of arrays, a function that yields dicts of arrays,
            or a Dataset.
        inputs: the model's inputs, see `specs`.
        pictures: how pictures become the input.

    Raises:
        DataError: with what was found and what was expected.
    """
    if isinstance(data, Dataset):
        return data.for_inputs(inputs)
    return Dataset.of(_source(data, _layout(inputs), pictures or PictureOptions()))


def _layout(inputs: Sequence[TensorSpec]) -> BatchLayout:
    layout = BatchLayout.of(inputs)
    odd = next((spec for spec in layout.inputs if spec.dtype is None), None)
    if odd is not None:
        raise DataError(f"input '{odd.name}' is a {odd.kind}: only tensors are supported")
    return layout


def _source(
    data: Mapping[str, np.ndarray] | BatchFunction | Path | str, layout: BatchLayout, pictures: PictureOptions
) -> Source:
    if isinstance(data, Mapping):
        return ArraySource(layout, {name: np.asarray(array) for name, array in data.items()}, "data")
    if not isinstance(data, (str, Path)):
        return StreamSource(layout, data, getattr(data, "__name__", "data"))
    path = Path(data)
    if path.is_dir() or (path.suffix.lower() == ".zip" and path.exists()):
        return PictureSource(layout, path, pictures)
    if path.suffix.lower() == ".npz" and path.exists():
        return ArraySource(layout, read_npz(path), str(path))
    if path.suffix.lower() == ".npy" and path.exists():
        return ArraySource(layout, {_only_input(layout, path): read_npy(path)}, str(path))
    if isinstance(data, str) and _is_function_name(data):
        return StreamSource(layout, imported(data), data)
    if path.exists():
        raise DataError(f"{path}: unknown format: use .npz, .npy, a folder or .zip of pictures, or module:function")
    raise DataError(f"{path}: there is no such file or folder")


def _refuse_nan(feeds: Mapping[str, np.ndarray], origin: str) -> None:
    for name, array in feeds.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise DataError(f"{origin}: the samples for '{name}' contain NaN: fix or remove these samples")


def _only_input(layout: BatchLayout, path: Path) -> str:
    if len(layout.inputs) != 1:
        raise DataError(f"{path}: a .npy holds one input; this model needs an .npz with {expected(layout)}")
    return layout.inputs[0].name


def _is_function_name(text: str) -> bool:
    module, _, function = text.partition(":")
    return function.isidentifier() and all(part.isidentifier() for part in module.split("."))
