"""Small models as text, one per structure that passes treat differently; weights come from their names."""

from __future__ import annotations

from functools import cache

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text

_HEAD = '<ir_version: 10, opset_import: ["" : 21]>'

TEXTS = {
    "residual": """
g (float[N,3,8,8] x) => (float[N,10] y)
<float[32,3,3,3] w1, float[32] b1, float[32] gamma, float[32] beta, float[32] mean, float[32] var,
 float[32,32,3,3] w2, float[32,32,1,1] w3, float[10,32] fc, float[10] fcb>
{
  ["stem"] a = Conv <pads = [1,1,1,1]> (x, w1, b1)
  ["norm"] b = BatchNormalization (a, gamma, beta, mean, var)
  ["act"] c = Relu (b)
  ["conv2"] d = Conv <pads = [1,1,1,1]> (c, w2)
  ["act2"] d2 = Relu (d)
  ["conv3"] e = Conv (d2, w3)
  ["shortcut"] f = Add (c, e)
  ["pool"] p = GlobalAveragePool (f)
  ["flat"] q = Flatten (p)
  ["fc"] y = Gemm <transB = 1> (q, fc, fcb)
}""",
    "separable": """
g (float[N,4,8,8] x) => (float[N,8,4,4] y)
<float[32,4,1,1] expand, float[32,1,3,3] depth, float[32,8,3,3] grouped, float[8,32,1,1] project>
{
  ["expand"] a = Conv (x, expand)
  ["relu6"] b = Relu (a)
  ["depth"] c = Conv <group = 32, pads = [1,1,1,1]> (b, depth)
  ["grouped"] d = Conv <group = 4, pads = [1,1,1,1]> (c, grouped)
  ["pool"] e = MaxPool <kernel_shape = [2,2], strides = [2,2]> (d)
  ["project"] y = Conv (e, project)
}""",
    "tied": """
g (float[N,32] x) => (float[N,32] y)
<float[32,32] w, float[32] b>
{
  ["first"] a = MatMul (x, w)
  ["bias"] c = Add (a, b)
  ["act"] d = Relu (c)
  ["second"] e = MatMul (d, w)
  ["bias2"] y = Add (e, b)
}""",
    "hidden_weights": """
g (float[N,16] x) => (float[N,8] y)
<float[16,32] w>
{
  ["copy"] v = Identity (w)
  ["first"] a = MatMul (x, v)
  ["const"] k = Constant <value = float[32,8] {}> ()
  ["act"] b = Sigmoid (a)
  ["drop"] c = Dropout (b)
  ["second"] y = MatMul (c, k)
}""",
    "branches": """
g (float[N,16] x, bool flag) => (float[N,16] y)
<float[16,16] outer>
{
  ["choose"] h = If (flag) <
    then_branch = yes () => (float[N,16] t) <float[16,16] inner> { ["in"] t = MatMul (x, inner) },
    else_branch = no () => (float[N,16] e) { ["out"] e = MatMul (x, outer) }
  >
  ["after"] z = MatMul (h, outer)
  ["act"] y = Tanh (z)
}""",
    "attention": """
g (float[N,6,32] x) => (float[N,6,32] y)
<float[32,32] wq, float[32,32] wk, float[32,32] wv, float[32,32] wo, float[32] scale, float[32] shift,
 int64[4] heads = {0,0,4,8}, int64[3] joined = {0,0,32}>
{
  n = LayerNormalization (x, scale, shift)
  q = MatMul (n, wq)
  k = MatMul (n, wk)
  v = MatMul (n, wv)
  q4 = Reshape (q, heads)
  k4 = Reshape (k, heads)
  v4 = Reshape (v, heads)
  qt = Transpose <perm = [0,2,1,3]> (q4)
  kt = Transpose <perm = [0,2,3,1]> (k4)
  vt = Transpose <perm = [0,2,1,3]> (v4)
  s = MatMul (qt, kt)
  p = Softmax <axis = -1> (s)
  o = MatMul (p, vt)
  ot = Transpose <perm = [0,2,1,3]> (o)
  oj = Reshape (ot, joined)
  r = MatMul (oj, wo)
  y = Add (r, x)
}""",
    "recurrent": """
g (float[5,N,8] x) => (float[5,N,4] y)
<float[1,128,8] w, float[1,128,32] r, float[1,256] b, float[32,4] out, int64[1] axes = {1}>
{
  ["lstm"] h, "", "" = LSTM <hidden_size = 32> (x, w, r, b)
  ["flat"] s = Squeeze (h, axes)
  ["head"] y = MatMul (s, out)
}""",
    "joined": """
g (float[N,8,4,4] x) => (float[N,16,8,8] y)
<float[16,8,3,3] left, float[16,8,1,1] right, float[32,16,2,2] up, float[16] bias, float[32] slope>
{
  ["left"] a = Conv <pads = [1,1,1,1]> (x, left)
  ["right"] b = Conv (x, right)
  ["join"] c = Concat <axis = 1> (a, b)
  ["swish"] d = Sigmoid (c)
  ["gate"] e = Mul (c, d)
  ["up"] y = ConvTranspose <strides = [2,2]> (e, up, bias)
}""",
}


MODELS = (*TEXTS, "dead_channels", "clustered")
"""The names of all of them."""


@cache
def _original(name: str) -> Model:
    made = {"dead_channels": _with_dead_channels, "clustered": _clustered}
    return made[name]() if name in made else from_text(_HEAD + TEXTS[name])


def _with_dead_channels() -> Model:
    """The residual net, some rows and columns of whose weights are zero, and the first row of one layer's kernels."""
    model = from_text(_HEAD + TEXTS["residual"])
    weights = {constant.name: constant for constant in model.constants()}
    for name, axis in (("w2", 0), ("w3", 1)):
        values = weights[name].values.copy()
        np.moveaxis(values, axis, 0)[: 10 - axis] = 0
        values[:, :, : values.shape[2] // 3] = 0
        edit.replace_values(model, weights[name], values)
    return model


def _clustered() -> Model:
    """The residual net, some of whose weights have few distinct values, few non-zeros, or repeat themselves."""
    model = from_text(_HEAD + TEXTS["residual"])
    weights = {constant.name: constant for constant in model.constants()}
    w2, w3, fc = (weights[name].values for name in ("w2", "w3", "fc"))
    edit.replace_values(model, weights["w2"], np.clip(np.rint(w2 * 40), -7, 8).astype(np.float32) / 40)
    edit.replace_values(model, weights["w3"], np.where(abs(w3) > 1.6 * w3.std(), w3, 0))
    edit.replace_values(model, weights["fc"], np.tile(fc[:2], (5, 1)))
    return model


def small_model(name: str) -> Model:
    """A fresh copy of the model `name`."""
    return _original(name).clone()
