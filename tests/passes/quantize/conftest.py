"""What the pass tests here share: a context with given data and budget."""

import numpy as np
import pytest

from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime import specs
from onnx_compress.compiler.runtime.data import dataset


class Judge:
    """Gives set answers: `drops` for every model measured, `times` by name (bytes where none is given)."""

    def __init__(self, max_drop=1.0, drops=0.0, times=None):
        self.max_drop, self.drops, self.times = max_drop, drops, times or {}
        self.measured = []

    def drop(self, model):
        self.measured.append(model)
        return self.drops(model) if callable(self.drops) else self.drops

    def speed(self, models):
        return {name: self.times.get(name, 1.0) for name in models}


@pytest.fixture
def context():
    """Makes contexts: `context(model, arrays, judge=…, exclude=…)`."""

    def make(model, arrays=None, judge=None, exclude=()):
        inputs = specs.specs(model).inputs
        rng = np.random.default_rng(0)
        arrays = arrays or {spec.name: rng.standard_normal([16, *spec.shape[1:]]).astype(spec.dtype) for spec in inputs}
        return Context(
            model=model,
            original=model.clone(),
            data=dataset.load(arrays, inputs),
            judge=judge or Judge(),
            seed=0,
            pass_name="test",
            exclude=exclude,
        )

    make.Judge = Judge
    return make
