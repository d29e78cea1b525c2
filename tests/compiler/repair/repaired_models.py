"""Small models, changed and refitted."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.repair import refit
from onnx_compress.compiler.runtime.data.dataset import load
from onnx_compress.compiler.runtime.session import create
from onnx_compress.compiler.runtime.specs import specs
from onnx_compress.compiler.surgery.channel_removal import Cut, Removal, apply

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'


def parsed(text):
    return from_text(HEAD + text)


def data_for(model, samples=64, seed=0):
    (info,) = specs(model).inputs
    rng = np.random.default_rng(seed)
    return load({info.name: rng.standard_normal((samples, *info.shape[1:])).astype(np.float32)}, [info])


def repaired(model, original, data=None, **options):
    return refit(model, original, data or data_for(original), np.random.default_rng(0), **options)


def distance(a, b, seed=1):
    """How far outputs differ on samples that were not fitted, as a share of their spread."""
    found = []
    for feeds in data_for(a, seed=seed).batches():
        x, y = (next(iter(create(model).run(feeds).values())) for model in (a, b))
        found.append(np.linalg.norm(x - y) / np.linalg.norm(x - x.mean()))
    return max(found)


def node(model, name):
    return next(n for n in model.graph.nodes if n.name == name)


def set_weight(model, name, change, slot=1):
    """Give a node new weights, `change` of the old ones."""
    old = node(model, name).inputs[slot].values
    edit.set_weight(model, node(model, name), slot, np.asarray(change(old)).astype(old.dtype))


def without_second_half(original):
    """The model without the second half of its first group of channels."""
    return without_half(original, 1)


def without_half(original, which):
    model = original.clone()
    groups = ChannelGroups.of(model)
    half = groups.prunable[0].size // 2
    apply(model, Removal.of(groups, (Cut(groups.prunable[0], which * half + np.arange(half)),)))
    return model


def doubled(axis=0):
    """Makes the second half of the channels along an axis equal to the first."""

    def change(values):
        half = np.take(values, range(values.shape[axis] // 2), axis)
        return np.concatenate([half, half], axis)

    return change


CHAINS = {
    "conv": """
g (float[N,3,9,9] x) => (float[N,6,5,5] y) <float[8,3,3,3] a, float[8] ab, float[6,8,3,3] b, float[6] bb>
{ ["a"] h = Conv <pads = [1,1,1,1]> (x, a, ab) r = Relu (h)
  ["b"] y = Conv <strides = [2,2], pads = [1,1,1,1]> (r, b, bb) }""",
    "transposed": """
g (float[N,3,5,5] x) => (float[N,6,11,11] y) <float[8,3,3,3] a, float[8] ab, float[8,6,3,3] b>
{ ["a"] h = Conv <pads = [1,1,1,1]> (x, a, ab) r = Relu (h)
  ["b"] y = ConvTranspose <strides = [2,2]> (r, b) }""",
    "gemm": """
g (float[N,12] x) => (float[N,6] y) <float[8,12] a, float[8] ab, float[6,8] b, float[6] bb>
{ ["a"] h = Gemm <transB = 1> (x, a, ab) r = Relu (h)
  ["b"] y = Gemm <transB = 1> (r, b, bb) }""",
}
