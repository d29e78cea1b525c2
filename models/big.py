"""A synthetic model of any size, written in milliseconds: its weights are holes in a sparse file.

For tests of memory and time above protobuf's limit of 2 GB. The file takes almost no disk space, but reading the
weights takes as much memory as their declared sizes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 4096
"""Features of each Gemm and MatMul; one weight has 64 MiB."""
CHANNELS, SIDE = 16, 16
"""The convolution's channels and the side of its map: its output is flattened to WIDTH features."""
LAYER_BYTES = 4 * WIDTH * WIDTH
EDGE = 1024
"""Number of elements at the start of each weight that are stored, one page of the file; the rest is a hole.

They are in the first row, which is one output of a Gemm (with transB) or one input of a MatMul. All are positive, so
the image's effect passes every Relu, and they are too many for a weight to count as clustered.
"""


def write(path: Path, size: int = 5 * 2**29) -> Path:
    """Write a model to `path` and its weights, at least `size` bytes, to a file of the same name plus `.data`.

    Layers: Conv → BatchNormalization → Relu → Flatten → alternately (Gemm → Relu) and (MatMul → Add → Relu) → Gemm to
    10. The input is `image` float32 [N, 3, 16, 16], the output `logits` [N, 10]. Linear weights have seeded values in
    their first EDGE elements and zeros elsewhere.
    """
    layers = max(1, -(-size // LAYER_BYTES))
    external = _write_data(path.with_name(path.name + ".data"), layers)
    small = _small_weights(layers)
    graph = helper.make_graph(
        _nodes(layers),
        "big",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [*small, *external],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def _write_data(path: Path, layers: int) -> list[TensorProto]:
    """Write the sparse file, and return the tensors that refer to it."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for i in range(layers):
            values = rng.uniform(0.5, 1.5, EDGE) / (EDGE if _is_gemm(i) else 1)
            file.seek(i * LAYER_BYTES)
            file.write(values.astype(np.float32).tobytes())
        file.truncate(layers * LAYER_BYTES)
    return [_external(f"layer{i}.weight", path.name, i * LAYER_BYTES) for i in range(layers)]


def _is_gemm(layer: int) -> bool:
    return layer % 2 == 0


def _external(name: str, location: str, offset: int) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=(WIDTH, WIDTH))
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(LAYER_BYTES))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _small_weights(layers: int) -> list[TensorProto]:
    """The weights in the model file itself: the convolution, its normalization, biases, the head."""
    rng = np.random.default_rng(1)
    arrays = {
        "conv.weight": rng.standard_normal((CHANNELS, 3, 3, 3)) / 5,
        "norm.scale": rng.uniform(0.5, 1.5, CHANNELS),
        "norm.bias": rng.standard_normal(CHANNELS),
        "norm.mean": rng.standard_normal(CHANNELS) / 5,
        "norm.var": rng.uniform(0.5, 1.5, CHANNELS),
        "head.weight": rng.standard_normal((10, WIDTH)) / 4,
        "head.bias": rng.standard_normal(10),
    }
    arrays |= {f"layer{i}.bias": rng.uniform(0, 0.1, WIDTH) for i in range(layers)}
    return [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]


def _nodes(layers: int) -> list[onnx.NodeProto]:
    norm = ["norm.scale", "norm.bias", "norm.mean", "norm.var"]
    nodes = [
        helper.make_node("Conv", ["image", "conv.weight"], ["conv"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["conv", *norm], ["norm"], "norm"),
        helper.make_node("Relu", ["norm"], ["relu"], "relu"),
        helper.make_node("Flatten", ["relu"], ["flat"], "flatten"),
    ]
    last = "flat"
    for i in range(layers):
        nodes += _layer(f"layer{i}", last, gemm=_is_gemm(i))
        last = f"layer{i}"
    nodes.append(helper.make_node("Gemm", [last, "head.weight", "head.bias"], ["logits"], "head", transB=1))
    return nodes


def _layer(name: str, given: str, *, gemm: bool) -> list[onnx.NodeProto]:
    weight, bias, total = f"{name}.weight", f"{name}.bias", f"{name}.sum"
    if gemm:
        linear = [helper.make_node("Gemm", [given, weight, bias], [total], f"{name}.gemm", transB=1)]
    else:
        product = f"{name}.product"
        linear = [
            helper.make_node("MatMul", [given, weight], [product], f"{name}.matmul"),
            helper.make_node("Add", [product, bias], [total], f"{name}.add"),
        ]
    return [*linear, helper.make_node("Relu", [total], [name], f"{name}.relu")]
