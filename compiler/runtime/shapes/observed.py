"""Shapes of inner values, observed in a run on synthetic inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.data.synthetic import synthetic
from onnx_compress.compiler.runtime.session import create

TOGETHER = 64
"""Values fetched per run: each fetched value stays in memory until the run ends."""


def observe(model: Model, names: Sequence[str]) -> Iterator[tuple[str, np.dtype, tuple[int, ...]]]:
    """Element types and shapes of the values `names` in a run on one synthetic sample.

    Names without a value at the top level of the graph are left out. Raises the errors of loading and running.
    """
    computed = {out.name for node in model.graph.nodes for out in node.outputs}
    given = {tensor.name for tensor in model.outputs()}
    wanted = [name for name in names if name in computed]
    session = create(model, optimize=False, outputs=[name for name in wanted if name not in given])
    feeds = next(synthetic(model, samples=1, session=session).batches(1))
    for start in range(0, len(wanted), TOGETHER):
        for name, array in session.run(feeds, wanted[start : start + TOGETHER]).items():
            yield name, array.dtype, array.shape
