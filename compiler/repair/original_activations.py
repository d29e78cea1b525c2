"""Activations of the original, or of the model before the current pass, at sampled positions: the layers' aims.

One run over the data gives all values at once. Of each value a seeded sample of positions is kept, with all channels
(in a temporary file when it is large), so that several candidates can be repaired against one reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from zlib import crc32

import numpy as np

from onnx_compress.compiler.ir.graph import Origin, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.repair.layers import others, sampled
from onnx_compress.compiler.runtime.capture import Capture
from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.compiler.runtime.outputs import Recording, batch_size
from onnx_compress.compiler.runtime.session import create

RUN_BYTES = 1 << 27
"""Bytes of activations that one run may return."""


@dataclass(frozen=True)
class Wanted:
    """A value of the original to record: the axis of its channels, and how many positions to sample over all data."""

    axis: int
    rows: int

    def covers(self, other: Wanted) -> bool:
        """Whether rows kept for this one also serve `other`."""
        return self.axis == other.axis and self.rows >= other.rows


@dataclass(frozen=True)
class Rows:
    """Sampled positions of one batch.

    `places` are flat indices into `outs`, the value's sizes without its channels; `values` [rows, channels] are the
    values there.
    """

    outs: tuple[int, ...]
    places: np.ndarray
    values: np.ndarray


@dataclass(eq=False)
class _Kept:
    wanted: Wanted
    recording: Recording
    outs: list[tuple[int, ...]] = field(default_factory=list)


class Reference:
    """The values of `original` over `data`, sampled by `seed`.

    With `is_found`, `original` is the model before the current pass: values correspond by name, not by origin.
    """

    def __init__(self, original: Model, data: Dataset, seed: int = 0, *, is_found: bool = False) -> None:
        self.original = original
        self.is_found = is_found
        self.data = data
        self.seed = seed
        self._names = {out.name for node in original.graph.nodes for out in node.outputs if out.name}
        self.batch = batch_size(create(original), data)
        """Samples per run of either model."""
        self._kept: dict[str, _Kept] = {}

    def origin(self, value: Variable) -> Origin | None:
        """The counterpart here of a value of the model under repair; None if it can't be recorded."""
        origin = Origin(value.name) if self.is_found else value.origin
        return origin if origin.name in self._names else None

    def limit(self, sample_bytes: int) -> None:
        """Limit the samples per run, given the bytes of activations that one sample takes."""
        if not self._kept:
            self.batch = min(self.batch, max(1, RUN_BYTES // max(1, sample_bytes)))

    def record(self, wanted: Mapping[str, Wanted]) -> None:
        """Run the original once, for the values not yet kept at enough positions."""
        new = {n: want for n, want in wanted.items() if n not in self._kept or not self._kept[n].wanted.covers(want)}
        if not new:
            return
        recording = Recording()
        kept = {name: _Kept(want, recording) for name, want in new.items()}
        for index, arrays in enumerate(Capture(self.original, list(new)).batches(self.data, self.batch)):
            recording.append({name: self._sample(kept[name], name, arrays[name], index) for name in new})
        self._kept.update(kept)

    def _sample(self, kept: _Kept, name: str, values: np.ndarray, batch: int) -> np.ndarray:
        kept.outs.append(others(values.shape, kept.wanted.axis))
        return sampled(values, kept.wanted.axis, self._places(kept, name, batch))

    def _places(self, kept: _Kept, name: str, batch: int) -> np.ndarray:
        """The sampled positions: sorted, distinct, and the same at every call."""
        total = prod(kept.outs[batch])
        share = -(-kept.wanted.rows * self.batch // len(self.data))
        if share >= total:
            return np.arange(total)
        rng = np.random.default_rng([self.seed, crc32(name.encode()), batch])
        return np.sort(rng.choice(total, share, replace=False, shuffle=False))

    def rows(self, name: str) -> Iterator[Rows]:
        """The sampled positions of a recorded value, batch by batch."""
        kept = self._kept[name]
        for batch, arrays in enumerate(kept.recording.select({name})):
            yield Rows(kept.outs[batch], self._places(kept, name, batch), arrays[name])
