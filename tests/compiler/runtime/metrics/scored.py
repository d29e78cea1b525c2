"""Outputs of a small classifier, and a metric over them."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.runtime.metrics.metric import choose
from onnx_compress.compiler.runtime.metrics.score import Score

LOGITS = np.array([[4, 0, 0], [0, 4, 0], [0, 0, 4], [3, 1, 0]], np.float32)
LABELS = np.array([0, 1, 1, 0])
EMBEDDING = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)


def measured(
    name: str | None, outputs: dict[str, np.ndarray], original: dict[str, np.ndarray], labels: np.ndarray | None = None
) -> Score:
    """The metric over two batches of two samples."""
    metric = choose(name, original, 4, labels)
    tally = metric.start()
    for rows in (slice(0, 2), slice(2, 4)):
        part = {key: array[rows] for key, array in original.items() if metric.needs is None or key in metric.needs}
        found = {key: array[rows] for key, array in outputs.items()}
        tally.add(found, 2, None if labels is None else labels[rows], part)
    return tally.score()
