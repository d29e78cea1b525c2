"""A model's outputs, signature and bytes, so that two models can be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnxruntime

from onnx_compress.compiler.ir.model import Model

EXACT = 1e-5
"""Share of the outputs' scale by which an exact pass may move them."""
FREE_DIM = 3
"""Extent of a dimension that the model leaves open."""

Feeds = Mapping[str, np.ndarray]
onnxruntime.set_default_logger_severity(4)


def identical(a: Model, b: Model) -> bool:
    """Whether two models are written as the same bytes."""
    return serialized(a) == serialized(b)


def serialized(model: Model) -> bytes:
    """The file of `model`, its weights included."""
    return bytes(model.proto().SerializeToString(deterministic=True))


def signature(model: Model) -> list[tuple[str, str]]:
    """Names and types of inputs and outputs, in order."""
    graph = model.skeleton().graph
    return [(info.name, str(info.type)) for info in (*graph.input, *graph.output)]


def run(model: Model, feeds: Feeds) -> list[np.ndarray]:
    """The outputs of `model` in onnxruntime, integers computed as the graph says.

    8-bit products saturate on x86 without VNNI: without integer kernels, every CPU gives the same results.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(
        model.proto().SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(value) for value in session.run(None, dict(feeds))]


def feeds_for(model: Model, seed: int = 0, batch: int = FREE_DIM) -> dict[str, np.ndarray]:
    """Inputs drawn from their declared types and shapes: floats are normal, whole numbers 0 or 1.

    `batch` is the extent of each dimension that the model leaves open.
    """
    rng = np.random.default_rng(seed)
    feeds = {}
    for info in model.inputs():
        dtype = onnx.helper.tensor_dtype_to_np_dtype(info.dtype)
        shape = [dim if isinstance(dim, int) else batch for dim in info.shape or ()]
        values = rng.standard_normal(shape) if np.issubdtype(dtype, np.floating) else rng.integers(0, 2, shape)
        feeds[info.name] = np.asarray(values).astype(dtype)
    return feeds


def distance(expected: list[np.ndarray], got: list[np.ndarray]) -> float:
    """The largest difference, as a share of the expected output's largest value; nan where one is not finite."""
    return _distance(expected, got, lambda values: np.max(np.abs(values), initial=0.0))


def relative_error(expected: list[np.ndarray], got: list[np.ndarray]) -> float:
    """The norm of the difference, as a share of the expected output's norm; nan where one is not finite."""
    return _distance(expected, got, np.linalg.norm)


def _distance(expected: list[np.ndarray], got: list[np.ndarray], size: Callable[[np.ndarray], float]) -> float:
    """Of the output that differs most."""
    return float(np.max([_pair_distance(a, b, size) for a, b in zip(expected, got, strict=True)]))  # np.max keeps nan


def _pair_distance(a: np.ndarray, b: np.ndarray, size: Callable[[np.ndarray], float]) -> float:
    if a.dtype.kind not in "fc":
        return 0.0 if np.array_equal(a, b) else float("nan")
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        return float("nan")
    wide = a.astype(np.float64)
    return float(size(wide - b.astype(np.float64)) / (size(wide) or 1.0))
