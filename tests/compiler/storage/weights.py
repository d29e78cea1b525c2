"""Weights with few distinct values, zeros or repetitions, and programs run in onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from hypothesis import strategies as st
from onnx import helper

from onnx_compress.compiler.storage.program import Program, tensor

TYPES = ("float32", "float16", "float64", "int8", "uint8")


@st.composite
def weights(draw) -> np.ndarray:
    """An array of any type and shape with few distinct values, some of them zero."""
    shape = tuple(draw(st.lists(st.integers(1, 12), min_size=1, max_size=4)))
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    k = draw(st.sampled_from((1, 2, 3, 4, 6, 9, 16, 17, 40, 41, 128, 200, 1000)))
    density = draw(st.sampled_from((0.0, 0.02, 0.2, 0.6, 1.0)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.integers(1, 100, k) if dtype.kind in "iu" else rng.standard_normal(k)
    array = rng.choice(values.astype(dtype), shape) * (rng.random(shape) < density)
    if draw(st.booleans()):
        array = np.concatenate([array] * draw(st.integers(2, 3)))
    if dtype.kind == "f" and draw(st.booleans()):
        array = np.negative(array)  # the zeros become -0.0
    return np.asarray(array, dtype)


def model_of(program: Program, opset: int) -> onnx.ModelProto:
    """A model without inputs whose outputs are the program's."""
    graph = helper.make_graph(
        [step.proto() for step in program.steps],
        "g",
        [],
        [helper.make_empty_tensor_value_info(name) for name in program.outputs],
        [tensor(part.name, part.array) for part in program.parts],
    )
    version = 10 if opset >= 21 else 8
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=version)


def run_in_onnxruntime(program: Program, opset: int) -> list[np.ndarray]:
    """The program's outputs as onnxruntime computes them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    model = model_of(program, opset)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {})


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have the same type, shape and bits."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
