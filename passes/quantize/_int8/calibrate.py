"""The distribution of a model's activations over calibration data, batch by batch, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime import session
from onnx_compress.passes.quantize._int8.histogram import BINS, Histogram

BATCH = 16
"""Samples per run, whose activations are in memory at once."""
HELD = 256 << 20
"""Most bytes of activations returned by one run; a larger batch is run several times, for some of the tensors each."""


def observe(model: Model, tensors: Sequence[str], ctx: Context, *, spread: bool) -> dict[str, Histogram]:
    """Histograms of the named values over all of `ctx.data`; with `spread` False only the extremes.

    onnxruntime.quantization's calibrators for percentile and entropy keep every activation of every batch until the
    end; here a batch is dropped before the next is read.
    """
    seen = {name: Histogram(bins=BINS if spread else 0) for name in tensors}
    runner = session.create(model, outputs=tensors)
    groups: list[Sequence[str]] = [tensors]
    with ctx.progress("calibrate", len(ctx.data)) as advance:
        for batch in ctx.data.runs(BATCH):
            sizes: dict[str, int] = {}
            for group in groups:
                _observe_group(runner, batch.feeds, group, seen, sizes)
            groups = _groups(sizes)
            advance(batch.count)
    return seen


def _observe_group(
    runner: session.Session,
    feeds: Mapping[str, np.ndarray],
    group: Sequence[str],
    seen: Mapping[str, Histogram],
    sizes: dict[str, int],
) -> None:
    for name, values in runner.run(feeds, group).items():
        seen[name].observe(values)
        sizes[name] = values.nbytes


def _groups(sizes: Mapping[str, int]) -> list[Sequence[str]]:
    """The names in order, cut so that each group's values fit into HELD (a larger value is a group of its own)."""
    groups: list[Sequence[str]] = []
    current: list[str] = []
    held = 0
    for name, size in sizes.items():
        if current and held + size > HELD:
            groups.append(current)
            current, held = [], 0
        current.append(name)
        held += size
    return [*groups, current] if current else groups
