"""Samples from a user-defined function, `module:function`, called again for each pass over the data."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from copy import copy
from pathlib import Path
from typing import Any, Self

import numpy as np

from onnx_compress.compiler.errors import DataError, UserError
from onnx_compress.compiler.runtime.data.arrays import ArraySource
from onnx_compress.compiler.runtime.data.batch_layout import BatchLayout
from onnx_compress.compiler.runtime.data.source import REMEDY, Feeds, chunks

MAX_SAMPLES = 10_000_000
"""A function that yields more samples is assumed never to end."""
HELD_BYTES = 1 << 28
"""Size in bytes of the samples in memory if they are read out of order: the function is run once for each such part."""

BatchFunction = Callable[[], Iterable[Mapping[str, np.ndarray]]]


class StreamSource:
    """Samples yielded by a function as dicts of arrays, one batch of any size each, optionally with `labels`.

    The function must yield the same samples each time. A first pass counts them and collects the labels; later, dicts
    are merged or cut to the size of a run. At most one run's samples are in memory, or `HELD_BYTES` of samples that are
    read out of order.
    """

    real = True

    def __init__(self, layout: BatchLayout, function: BatchFunction, origin: str) -> None:
        self.layout = layout
        self.origin = origin
        self._function = function
        self._sample_bytes = 1
        self._count, self._labels = self._survey()

    @property
    def labels(self) -> np.ndarray | None:
        """The labels of all batches, concatenated."""
        return self._labels

    def __len__(self) -> int:
        return self._count

    def read(self, indices: np.ndarray, size: int) -> Iterator[tuple[Feeds, int]]:
        """See `Source.read`."""
        is_in_order = bool(np.all(np.diff(indices) > 0))
        parts = self._selected(indices, size) if is_in_order else self._reordered(indices)
        return _merged(parts, size, self.layout)

    def for_layout(self, layout: BatchLayout) -> Self:
        """See `Source.for_layout`; the first dict of arrays must fit."""
        twin = copy(self)
        twin.layout = layout
        with closing(twin._batches()) as batches:
            try:
                next(batches)
            except DataError as error:
                raise DataError(f"{error}; {REMEDY}") from None
        return twin

    def _reordered(self, indices: np.ndarray) -> Iterator[tuple[Feeds, int]]:
        """Single samples in the order of `indices`."""
        for wanted in chunks(indices, max(1, HELD_BYTES // self._sample_bytes)):
            order = np.argsort(wanted)
            found = {int(place): feeds for place, (feeds, _) in zip(order, self._selected(wanted[order], 1))}
            yield from ((found[place], 1) for place in range(len(wanted)))

    def _selected(self, indices: np.ndarray, size: int) -> Iterator[tuple[Feeds, int]]:
        start = 0
        for batch in self._batches():
            stop = start + len(batch)
            inside = indices[np.searchsorted(indices, start) : np.searchsorted(indices, stop)]
            if len(inside):
                yield from batch.read(inside - start, size)
            start = stop
            if start > (indices[-1] if len(indices) else -1):
                return
        raise DataError(f"{self.origin} yielded {self._count} samples the first time and {start} later")

    def _survey(self) -> tuple[int, np.ndarray | None]:
        count, labels, labelled = 0, [], set()
        for batch in self._batches():
            count += len(batch)
            self._sample_bytes = max(self._sample_bytes, batch.sample_bytes)
            labelled.add(batch.labels is not None)
            if batch.labels is not None:
                labels.append(np.array(batch.labels))
            if count > MAX_SAMPLES:
                raise DataError(f"{self.origin} yields more than {MAX_SAMPLES} samples: it must end")
        if count == 0:
            raise DataError(f"{self.origin} yields no samples")
        if len(labelled) > 1:
            raise DataError(f"{self.origin} yields labels with some batches but not with others")
        return count, np.concatenate(labels) if labels else None

    def _batches(self) -> Generator[ArraySource]:
        try:
            for number, arrays in enumerate(self._function()):
                yield self._checked(arrays, f"{self.origin}, batch {number}")
        except (UserError, KeyboardInterrupt):
            raise
        except Exception as error:  # user code may raise anything
            raise DataError(f"{self.origin} failed: {type(error).__name__}: {error}") from error

    def _checked(self, arrays: Any, where: str) -> ArraySource:
        if not isinstance(arrays, Mapping):
            raise DataError(f"{where}: expected a dict of arrays, not {type(arrays).__name__}")
        return ArraySource(self.layout, {str(k): np.asarray(v) for k, v in arrays.items()}, where)


def imported(name: str) -> Callable[..., Any]:
    """The function `module:function`, also searched in the current folder. Raises DataError."""
    module_name, _, function_name = name.partition(":")
    try:
        with _current_folder_importable():
            function = getattr(importlib.import_module(module_name), function_name)
    except ImportError as error:
        raise DataError(f"{name}: module '{module_name}' can't be imported: {error}") from None
    except AttributeError:
        raise DataError(f"{name}: module '{module_name}' has no '{function_name}'") from None
    if not callable(function):
        raise DataError(f"{name} is not a function")
    return function  # type: ignore[no-any-return]


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _merged(parts: Iterator[tuple[Feeds, int]], size: int, layout: BatchLayout) -> Iterator[tuple[Feeds, int]]:
    """Consecutive parts concatenated up to `size` samples, if their shapes agree and every input holds a batch."""
    held: list[Feeds] = []
    count = 0
    for feeds, rows in parts:
        if held and (count + rows > size or not _joinable(held[0], feeds, layout)):
            yield _joined(held), count
            held, count = [], 0
        held.append(feeds)
        count += rows
    if held:
        yield _joined(held), count


def _joinable(first: Feeds, second: Feeds, layout: BatchLayout) -> bool:
    return len(layout.batched) == len(first) and all(first[name].shape[1:] == second[name].shape[1:] for name in first)


def _joined(parts: list[Feeds]) -> Feeds:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
