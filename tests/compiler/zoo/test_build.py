"""Models that the zoo builds: valid, deterministic, and with meaningful weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from sklearn.datasets import load_digits

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.zoo import build
from onnx_compress.compiler.zoo.locate import locate
from onnx_compress.compiler.zoo.manifest import load_manifest


def light(name):
    entry = next(e for e in load_manifest() if e.name == f"light-{name}")
    return onnx.load(locate(dataclasses.replace(entry, fill=False), Path(), Path()))


def session(proto):
    return onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("builder", build.BUILDERS)
def test_built_models_classify_digits(builder):
    proto = build.build(builder)
    onnx.checker.check_model(proto, full_check=True)
    x, y = load_digits(return_X_y=True)
    label = session(proto).run(["label"], {"x": x.astype(np.float32)})[0]
    assert np.mean(label == y) > 0.95
    assert build.build(builder).SerializeToString() == proto.SerializeToString()


def test_an_unknown_builder_is_refused():
    with pytest.raises(UsageError, match="no builder 'cnn'; it has digits-mlp, digits-forest"):
        build.build("cnn")


def test_filling_gives_weights_and_keeps_the_signature():
    bare = light("shufflenet")
    filled = build.fill(bare)
    onnx.checker.check_model(filled)
    assert not any(node.op_type == "ConstantOfShape" for node in filled.graph.node)
    assert [n.output[0] for n in filled.graph.node] == [
        n.output[0] for n in bare.graph.node if n.op_type != "ConstantOfShape"
    ]
    net, given = session(filled), session(bare)
    assert [i.name for i in net.get_inputs()] == [i.name for i in given.get_inputs()]
    pictures = np.random.default_rng(0).standard_normal((2, 1, 3, 224, 224)).astype(np.float32)
    one, two = (net.run(None, {net.get_inputs()[0].name: picture})[0] for picture in pictures)
    assert np.abs(one - two).max() > 1e-3, "outputs depend on the input, unlike those of the bare graph"
    assert build.fill(bare).SerializeToString(deterministic=True) == filled.SerializeToString(deterministic=True)
