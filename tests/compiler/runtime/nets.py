"""Small models for the tests of this folder, as text."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, parser

HEAD = '<ir_version: 10, opset_import: ["" : 21, "ai.onnx.ml" : 4]> '

LINEAR = "g (float[N,3] x) => (float[N,2] y) <float[3,2] w = {1, 0, 0, 1, 1, -1}> { [dense] y = MatMul (x, w) }"
IDENTITY = "g (float[N,3] x) => (float[N,3] y) { [same] y = Identity (x) }"
FIXED = "g (float[4,3] x) => (float[4,3] y, float[1] s) { y = Relu (x) s = Constant <value = float[1] {5}> () }"
STATE = """g (float[?,?] input, float[2,?,8] state, int64 sr) => (float[?,?] output, float[2,?,8] next) {
  rate = Cast <to = 1> (sr)
  output = Mul (input, rate)
  next = Relu (state)
}"""
BRANCHES = """g (bool c, float[N,4] x) => (float[N,4] y) {
  [choice] y = If (c) <
    then_branch = t () => (float[N,4] a) { [inner] b = Relu (x) a = Neg (b) },
    else_branch = e () => (float[N,4] d) { d = Abs (x) }
  >
}"""
ZIPMAP = """g (float[N,3] p) => (seq(map(int64, float)) scores) {
  scores = ai.onnx.ml.ZipMap <classlabels_int64s = [5, 7, 6]> (p)
}"""


def net(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    """The model of `text`, with additional initializers."""
    model = parser.parse_model(text if text.startswith("<") else HEAD + text)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return model
