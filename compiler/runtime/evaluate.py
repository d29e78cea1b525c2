"""Computing a constant part of a graph exactly as onnxruntime computes it at run time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from onnx_compress.compiler.runtime.session import create


def evaluate(
    graph: onnx.GraphProto | onnx.ModelProto,
    feeds: Mapping[str, np.ndarray] | None = None,
    *,
    opsets: Sequence[onnx.OperatorSetIdProto] = (),
    ir_version: int = 8,
) -> dict[str, np.ndarray]:
    """The outputs of a small graph, each node run as written.

    A GraphProto needs the `opsets` (and, for new element types, the `ir_version`) of its model. Its outputs may be
    declared by name alone. Raises ModelError if onnxruntime can't run it.
    """
    if isinstance(graph, onnx.GraphProto):
        model = onnx.ModelProto(ir_version=ir_version, opset_import=opsets)
        model.graph.CopyFrom(graph)
    else:
        model = graph
    return create(model, optimize=False).run(feeds or {})
