"""What each part of a model loses at each of its settings, measured at the model's outputs.

Widths of channel groups, sparsities of layers, bits of codebooks, branches: each pass says what its parts and their
settings are; here they are tried one at a time, each on a copy of the model, and compared with the model as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from onnx_compress.compiler.ir.model import Model, Twin
from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.compiler.runtime.metrics.divergence import Divergence
from onnx_compress.compiler.runtime.outputs import batch_size
from onnx_compress.compiler.runtime.session import create

FITTED, CHECKED = 768, 256
"""Samples at most that layers are solved for on, and others that losses are measured on."""
RUN_BYTES = 1 << 27
"""Bytes of activations that one run may give."""

Edit: TypeAlias = Callable[[Twin], None]
"""Makes the change that is tried on a copy of the model."""


@dataclass(frozen=True, eq=False)
class Probe:
    """The outputs of `model` over some samples, and what edits do to them; `batch` samples go into one run."""

    model: Model
    divergence: Divergence
    batch: int

    @classmethod
    def of(cls, model: Model, check: Dataset, sample_bytes: int = 0) -> Probe:
        """Run the model as it is over `check`; one sample gives `sample_bytes` of activations in other runs."""
        batch = batch_size(create(model), check)
        batch = min(batch, max(1, RUN_BYTES // sample_bytes)) if sample_bytes else batch
        return cls(model, Divergence(model, check, batch), batch)

    def loss(self, edit: Edit) -> float:
        """What an edit does to the outputs (see `Divergence`); infinite where they are no numbers any more."""
        twin = self.model.twin()
        edit(twin)
        return self.divergence.of(twin.model)


class Part(Protocol):
    """A part of a model that has several settings, the first of which leaves it as it is."""

    def edits(self) -> Iterator[Edit | None]:
        """What is tried, one edit after another; None: nothing is changed, which loses nothing."""
        ...

    def losses(self, measured: list[float]) -> np.ndarray:
        """What each setting loses [settings], from what the edits lost."""
        ...


def measure(probe: Probe, parts: Iterable[Part], advance: Callable[[], object]) -> Iterator[np.ndarray]:
    """The losses [settings] of one part after another, each changed by itself; `advance` is called after each edit."""
    for part in parts:
        found = []
        for edit in part.edits():
            found.append(0.0 if edit is None else probe.loss(edit))
            if edit is not None:
                advance()
        yield part.losses(found)


def proportional(errors: np.ndarray, tried: int, loss: float) -> np.ndarray:
    """The losses at all settings when setting `tried` loses `loss`, growing like the `errors` [settings].

    The divergence of outputs grows with the square of a small disturbance, and so do squared errors of weights and
    of layers' outputs.
    """
    if not errors[tried] > 0:  # or no number
        return np.zeros_like(errors)
    with np.errstate(invalid="ignore"):  # where an infinite loss meets no error
        return np.asarray(loss / errors[tried] * errors)


def parted(data: Dataset) -> tuple[Dataset, Dataset]:
    """The samples to solve layers for on, and the others to measure losses on: all of them, see `Dataset.take`."""
    return data.split(CHECKED / (FITTED + CHECKED))
