"""Zoo models that are built here: scikit-learn nets and forests, and graphs with weights drawn from a seed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.ir.model import LEAST_IR_OF_DEFAULTS

SEED = 0
OPSET = 17


def build(builder: str) -> onnx.ModelProto:
    """Build a model. Raises UsageError for an unknown builder, or if its packages are not installed."""
    if builder not in BUILDERS:
        raise UsageError(f"the zoo has no builder '{builder}'; it has {', '.join(BUILDERS)}")
    try:
        return BUILDERS[builder]()
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the builder '{builder}' needs {error.name}; install the [test] extra or leave the model out"
        ) from None


def fill(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with seeded random values for every tensor that ConstantOfShape makes from an initializer.

    Weights of rank ≥ 2 get the standard deviation √(2/fan-in), so that activations keep their scale at any depth.
    Vectors stay near the constant in the file, because variances and scales must be positive.
    """
    filled = onnx.ModelProto()
    filled.CopyFrom(proto)
    graph = filled.graph
    shapes = {tensor.name: tensor for tensor in graph.initializer}
    makers = [n for n in graph.node if n.op_type == "ConstantOfShape" and n.input[0] in shapes]
    for node in makers:
        weight = _drawn(node, numpy_helper.to_array(shapes[node.input[0]]))
        graph.initializer.append(numpy_helper.from_array(weight, node.output[0]))
        if filled.ir_version < LEAST_IR_OF_DEFAULTS:  # requires every initializer among the inputs
            graph.input.append(onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, weight.shape))
        graph.node.remove(node)
    _drop_initializers(graph, {node.input[0] for node in makers})
    return filled


def _drawn(node: onnx.NodeProto, shape: NDArray[np.int64]) -> NDArray[np.float32]:
    rng = np.random.default_rng([SEED, zlib.crc32(node.output[0].encode())])
    if shape.size >= 2:
        fan_in = math.prod(shape[1:].tolist())
        return rng.normal(0, math.sqrt(2 / fan_in), shape).astype(np.float32)
    value = float(numpy_helper.to_array(node.attribute[0].t)[0]) if node.attribute else 0.0
    return (value * rng.uniform(0.8, 1.2, shape)).astype(np.float32)


def _drop_initializers(graph: onnx.GraphProto, names: set[str]) -> None:
    read = {name for node in graph.node for name in node.input}
    for tensor in [t for t in graph.initializer if t.name in names - read]:
        graph.initializer.remove(tensor)
    for value in [v for v in graph.input if v.name in names - read]:
        graph.input.remove(value)


def _digits_mlp() -> onnx.ModelProto:
    """A scaler and a multilayer perceptron on scikit-learn's 8×8 digits; probabilities as one tensor."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_digits(return_X_y=True)
    net = MLPClassifier((128, 64), early_stopping=True, n_iter_no_change=3, random_state=SEED)
    return _converted(make_pipeline(StandardScaler(), net).fit(x, y), 64)


def _digits_forest() -> onnx.ModelProto:
    """A small random forest: a tree operator of ai.onnx.ml, with nothing to compress."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier

    x, y = load_digits(return_X_y=True)
    return _converted(RandomForestClassifier(10, max_depth=6, random_state=SEED).fit(x, y), 64)


def _converted(model: object, features: int) -> onnx.ModelProto:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    proto: onnx.ModelProto = to_onnx(
        model,
        initial_types=[("x", FloatTensorType([None, features]))],
        options={"zipmap": False},
        target_opset={"": OPSET, "ai.onnx.ml": 3},
    )
    return proto


BUILDERS: dict[str, Callable[[], onnx.ModelProto]] = {
    "digits-mlp": _digits_mlp,
    "digits-forest": _digits_forest,
}
