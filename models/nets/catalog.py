"""The description of a net: a torch module of a chosen width, its inputs and its outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

FREE_DIMS = {"T": 12}
"""Length of the dynamic axes other than the batch, in the traced example and in `Net.feeds`."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """One graph input; a name in `shape` is a dynamic axis, `high` an exclusive bound for integers."""

    name: str
    shape: tuple[int | str, ...]
    high: int | None = None

    def sample(self, batch: int, rng: np.random.Generator) -> np.ndarray:
        """Standard normal float32, or int64 in [0, high), with N = `batch`."""
        sizes = FREE_DIMS | {"N": batch}
        shape = [sizes[d] if isinstance(d, str) else d for d in self.shape]
        if self.high is not None:
            return rng.integers(0, self.high, shape, dtype=np.int64)
        return rng.standard_normal(shape, dtype=np.float32)

    @property
    def dynamic(self) -> dict[int, str]:
        """The dynamic axes and their names."""
        return {axis: dim for axis, dim in enumerate(self.shape) if isinstance(dim, str)}


@dataclass(frozen=True, kw_only=True)
class NetSignature:
    """A net as callers see it: its name, inputs and outputs."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...] = ("logits",)

    def feeds(self, batch: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
        """Seeded inputs by name."""
        rng = np.random.default_rng([seed, batch])
        return {i.name: i.sample(batch, rng) for i in self.inputs}


@dataclass(frozen=True, kw_only=True)
class Net(NetSignature):
    """A small net.

    `make(shrink)` returns the module with every inner width divided by `shrink`; the outputs' shapes do not
    depend on it. The module at `shrink=2` is therefore what pruning half of all channels can achieve.
    `fresh` normalizations keep their initial constants (0 and 1), which the TorchScript exporter then shares
    between layers through Identity nodes.
    """

    make: Callable[[int], nn.Module]
    fresh: bool = False

    def parameters(self, shrink: int = 1) -> int:
        """Number of trained elements, shared ones counted once, without running statistics."""
        with torch.device("meta"):
            return sum(p.numel() for p in self.make(shrink).parameters())


def image(*shape: int) -> tuple[Input, ...]:
    """The inputs of a net for one image (or signal) of this shape, given without the batch."""
    return (Input(name="image", shape=("N", *shape)),)
