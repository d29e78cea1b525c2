"""The outputs of a model over a dataset, batch by batch; recorded if they are needed again."""

from __future__ import annotations

import math
import tempfile
import weakref
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, TypeAlias

import numpy as np

from onnx_compress.compiler.errors import OutputError, UserError
from onnx_compress.compiler.runtime.data.dataset import Batch, Dataset
from onnx_compress.compiler.runtime.session import Session

Arrays: TypeAlias = dict[str, np.ndarray]

BATCH_BYTES = 1 << 23
"""Most bytes of inputs per run, unless a single sample has more."""
IN_MEMORY = 1 << 26
"""Bytes of a recording that stay in memory; a longer one is moved to an unnamed temporary file."""


def outputs(
    session: Session, dataset: Dataset, size: int = 32, names: Sequence[str] | None = None
) -> Iterator[tuple[Batch, Arrays]]:
    """Each batch of `dataset` with the model's outputs (`names`; None: all).

    The samples are made into the inputs of this model, which a pass may have changed. Rows that only pad a batch of
    fixed size are cut off.
    """
    dataset = dataset.for_inputs(session.inputs)
    for batch in dataset.runs(size):
        yield batch, dataset.layout.cut(session.run(batch.feeds, names), batch.count)


def batch_size(session: Session, dataset: Dataset, wanted: int = 32) -> int:
    """The number of samples per run of the model.

    At most `wanted`, with inputs below `BATCH_BYTES` (activations take many times that). One, if two samples in a
    batch give other outputs than each alone: some exporters write a batch of one into the graph and declare it free.
    """
    fixed = dataset.layout.run_size(wanted)
    if fixed <= 1 or dataset.layout.fixed is not None or len(dataset) < 2:
        return fixed
    pair = Dataset(dataset.source, dataset.indices[:2])
    if not _independent(session, pair):
        return 1
    sample = sum(array.nbytes for array in next(pair.batches(1)).values())
    return max(1, min(wanted, BATCH_BYTES // max(1, sample)))


def _independent(session: Session, pair: Dataset) -> bool:
    """Whether a run of two samples gives the outputs of two runs of one, concatenated."""
    try:
        alone = [arrays for _, arrays in outputs(session, pair, 1)]
        together = [arrays for _, arrays in outputs(session, pair, 2)]
    except UserError:
        return False
    return len(together) == 1 and all(
        _is_joined([arrays[name] for arrays in alone if name in arrays], both) for name, both in together[0].items()
    )


def _is_joined(parts: Sequence[np.ndarray], both: np.ndarray) -> bool:
    if any(part.ndim == 0 for part in parts) or len({part.shape[1:] for part in parts}) != 1:
        return False
    joined = np.concatenate(parts)
    if joined.shape != both.shape:
        return False
    if joined.dtype.kind != "f":
        return bool(np.all(joined == both))
    scale = float(np.max(np.abs(joined), initial=0.0, where=np.isfinite(joined)))
    return bool(np.allclose(joined, both, rtol=0, atol=1e-2 * scale, equal_nan=True))


@dataclass(frozen=True)
class _Place:
    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int


@dataclass(eq=False)
class Recording:
    """Sets of arrays, appended in order and read back any number of times, in bounded memory."""

    _file: IO[bytes] = field(default_factory=lambda: tempfile.SpooledTemporaryFile(IN_MEMORY))  # noqa: SIM115
    _entries: list[list[_Place | tuple[str, np.ndarray]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        weakref.finalize(self, self._file.close)

    @classmethod
    def of(cls, session: Session, dataset: Dataset, size: int = 32, names: Sequence[str] | None = None) -> Recording:
        """The outputs of `session` over `dataset`, one set per batch. Raises OutputError when the disk is full."""
        recording = cls()
        for _, arrays in outputs(session, dataset, size, names):
            recording.append(arrays)
        return recording

    def append(self, arrays: Arrays) -> None:
        """Add one set."""
        self._entries.append([self._store(name, array) for name, array in arrays.items()])

    def __iter__(self) -> Iterator[Arrays]:
        for entry in self._entries:
            yield dict(self._load(place) for place in entry)

    def select(self, names: Collection[str]) -> Iterator[Arrays]:
        """The arrays `names` of each set; the others are not read."""
        for entry in self._entries:
            yield dict(self._load(place) for place in entry if _name(place) in names)

    def __len__(self) -> int:
        return len(self._entries)

    def _store(self, name: str, array: np.ndarray) -> _Place | tuple[str, np.ndarray]:
        if array.dtype.kind == "O":
            return name, array  # strings: few and small
        place = _Place(name, array.dtype, array.shape, self._file.seek(0, 2))
        try:
            self._file.write(array.tobytes())
        except OSError as error:
            raise OutputError(
                f"{tempfile.gettempdir()}: can't store outputs for comparison: {error.strerror}; "
                "set TMPDIR to another folder"
            ) from None
        return place

    def _load(self, place: _Place | tuple[str, np.ndarray]) -> tuple[str, np.ndarray]:
        if isinstance(place, tuple):
            return place
        self._file.seek(place.offset)
        data = self._file.read(math.prod(place.shape) * place.dtype.itemsize)
        return place.name, np.frombuffer(data, place.dtype).reshape(place.shape)


def _name(place: _Place | tuple[str, np.ndarray]) -> str:
    return place.name if isinstance(place, _Place) else place[0]
