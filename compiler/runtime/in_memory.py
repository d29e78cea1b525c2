"""Handing a model to onnxruntime without a file.

The graph is passed as a small message, and large weights as references to their arrays, which onnxruntime copies once
while it loads and then releases. So a weight that is still in its file is mapped only during loading, no second copy
is made, and the 2 GiB limit of a message does not apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir.files.exporter import embedded, export_graph, placeholder
from onnx_compress.compiler.ir.files.lower import PartConstant, lowered
from onnx_compress.compiler.ir.graph import Constant
from onnx_compress.compiler.ir.lazy import LazyTensor
from onnx_compress.compiler.ir.model import PLACEHOLDER_LIMIT, Model
from onnx_compress.compiler.runtime.specs import ModelLike, as_model

_SHAREABLE = frozenset("?bhilqBHILQefd")
"""Type codes of arrays that can be passed by reference; strings, bfloat16, int4 and the like are embedded."""


@dataclass(frozen=True)
class Handover:
    """What onnxruntime opens (a path or a message), and the weights that it takes by reference, by name.

    It must live until the model is loaded: `arrays` own the memory of `weights`.
    """

    source: str | bytes
    weights: dict[str, onnxruntime.OrtValue] = field(default_factory=dict)
    arrays: tuple[np.ndarray, ...] = ()


def hand_over(model: ModelLike, outputs: Sequence[str] = ()) -> Handover:
    """`model` for onnxruntime, with its inner values `outputs` as additional outputs of the graph.

    A path without additional outputs is opened by onnxruntime itself. Raises ModelError for a message whose weights
    are in another file.
    """
    if isinstance(model, onnx.ModelProto):
        _refuse_external(model)
        return Handover(_extended(model, outputs).SerializeToString())
    if not isinstance(model, Model) and not outputs:
        return Handover(str(model))
    return _by_reference(as_model(model), outputs)


def _by_reference(model: Model, outputs: Sequence[str]) -> Handover:
    heavy = {c: c.name for c in lowered(model.graph).constants if _is_shareable(c)}
    proto = onnx.ModelProto()
    proto.CopyFrom(model.header)
    proto.graph.CopyFrom(export_graph(model.graph, lambda c: placeholder(c, 0) if c in heavy else embedded(c)))
    _add_outputs(proto.graph, outputs)
    arrays = {name: np.require(c.values, requirements=["C", "A"]) for c, name in heavy.items()}
    weights = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
    return Handover(proto.SerializeToString(), weights, tuple(arrays.values()))


def _is_shareable(constant: Constant) -> bool:
    stored = constant.stored
    if isinstance(stored, LazyTensor) and stored.is_sparse:
        return False
    if not constant.outputs and not isinstance(constant, PartConstant):
        return False  # onnxruntime drops unread initializers, and then refuses a reference to them
    return constant.nbytes > PLACEHOLDER_LIMIT and np.dtype(stored.dtype).char in _SHAREABLE


def _refuse_external(proto: onnx.ModelProto) -> None:
    """A message has no folder, so onnxruntime would look for its data in the current one."""
    for tensor in proto.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ModelError(
                f"initializer '{tensor.name}' has its data in another file, which a message can't locate: "
                "pass the path of the model instead"
            )


def _extended(proto: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    if not outputs:
        return proto
    extended = onnx.ModelProto()
    extended.CopyFrom(proto)
    _add_outputs(extended.graph, outputs)
    return extended


def _add_outputs(graph: onnx.GraphProto, outputs: Sequence[str]) -> None:
    # The name suffices: onnxruntime infers the type of an output without one.
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
