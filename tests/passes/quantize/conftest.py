"""What the tests of quantization share: a context in which nothing is lost and all candidates take the same time."""

import numpy as np
import pytest

from onnx_compress.compiler.runtime.specs import specs
from onnx_compress.passes.quantize.quantize_int8 import QuantizeInt8
from tests import contexts
from tests.contexts import FakeJudge, by_name, nothing

alike = by_name()


@pytest.fixture
def context():
    """Makes contexts: `context(model, arrays, loses=…, takes=…, exclude=…)`, the middle ones as FakeJudge has them."""

    def make(model, arrays=None, loses=nothing, takes=alike, exclude=()):
        rng = np.random.default_rng(0)
        arrays = arrays or {
            spec.name: rng.standard_normal([16, *spec.shape[1:]]).astype(spec.dtype) for spec in specs(model).inputs
        }
        judge = FakeJudge(model.clone(), loses=loses, takes=takes)
        return contexts.context(QuantizeInt8(), model, data=arrays, judge=judge, exclude=exclude)

    return make
