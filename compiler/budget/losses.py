"""The loss of each part of a model at each of its settings, measured at the model's outputs.

Widths of channel groups, sparsities of layers, bits of codebooks, branches: each pass names its parts and their
settings; here they are tried one at a time, each on a copy of the model, and compared with the unchanged model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from onnx_compress.compiler.ir.model import Model, Twin
from onnx_compress.compiler.repair.original_activations import RUN_BYTES
from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.compiler.runtime.metrics.divergence import Divergence
from onnx_compress.compiler.runtime.outputs import batch_size
from onnx_compress.compiler.runtime.session import create

FITTED, CHECKED = 768, 256
"""Maximum numbers of samples on which layers are solved, and of others on which losses are measured."""
LEAST_CHECKED = 32
"""Minimum number of samples on which losses are measured, however large the model."""

Edit: TypeAlias = Callable[[Twin], None]
"""Makes the tried change on a copy of the model."""


@dataclass(frozen=True, eq=False)
class Probe:
    """The outputs of `model` over some samples, and the effect of edits on them; `batch` samples form one run."""

    model: Model
    divergence: Divergence
    batch: int

    @classmethod
    def of(cls, model: Model, check: Dataset, sample_bytes: int = 0) -> Probe:
        """Run the unchanged model over `check`; other runs have `sample_bytes` of activations per sample."""
        batch = batch_size(create(model), check)
        batch = min(batch, max(1, RUN_BYTES // sample_bytes)) if sample_bytes else batch
        return cls(model, Divergence(model, check, batch), batch)

    def loss(self, edit: Edit) -> float:
        """The effect of an edit on the outputs (see `Divergence`); infinite if they become NaN."""
        twin = self.model.twin()
        edit(twin)
        return self.divergence.of(twin.model)


class Part(Protocol):
    """A part of a model that has several settings, the first of which leaves it unchanged."""

    def edits(self) -> Iterator[Edit | None]:
        """The tried edits in order; None: nothing is changed, which loses nothing."""
        ...

    def losses(self, measured: list[float]) -> np.ndarray:
        """The loss of each setting [settings], from the losses of the edits."""
        ...


def measure(probe: Probe, parts: Iterable[Part], advance: Callable[[], object]) -> Iterator[np.ndarray]:
    """The losses [settings] of one part after another, each changed alone; `advance` is called after each edit."""
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
    if not errors[tried] > 0:  # or NaN
        return np.zeros_like(errors)
    with np.errstate(invalid="ignore"):  # where an infinite loss meets no error
        return np.asarray(loss / errors[tried] * errors)


def parted(data: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """The samples for solving layers, and the others for measuring losses: all of them, see `Dataset.take`."""
    return data.split(CHECKED / (FITTED + CHECKED), seed)
