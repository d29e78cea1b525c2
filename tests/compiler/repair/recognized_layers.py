"""The layer of a small model, and all values in a run."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.repair.present_activations import static_values
from onnx_compress.compiler.repair.refittable_layers import Seen, View, recognize
from onnx_compress.compiler.runtime.capture import Capture
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.specs import specs

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'


def values_of(model):
    """All values of a model in one run on random inputs."""
    rng = np.random.default_rng(0)
    feeds = {}
    for info in specs(model).inputs:
        shape = [dim if isinstance(dim, int) else 3 for dim in info.shape]
        feeds[info.name] = rng.standard_normal(shape).astype(np.float32)
    names = [*feeds, *(out.name for node in model.graph.nodes for out in node.outputs)]
    return next(Capture(model, names).batches(load(feeds, specs(model).inputs), 3))


def recognized(text, op=None):
    """The layer of a model (the first, or the first of an operator), and all values in a run."""
    model = from_text(HEAD + text)
    arrays = values_of(model)
    seen = {name: Seen(array.shape, array.dtype) for name, array in arrays.items()}
    node = next(n for n in model.graph.nodes if n.op in (op or ("Conv", "ConvTranspose", "Gemm", "MatMul")))
    return recognize(node, View(model, static_values(model), seen)), arrays, model
