"""Runs of passes on the classifier, without simplify and encode."""

from __future__ import annotations

from onnx_compress.compiler.pipeline import manager
from onnx_compress.compiler.pipeline.datasets import datasets
from onnx_compress.compiler.pipeline.recipe import Step
from onnx_compress.compiler.pipeline.settings import Settings
from tests.compiler.pipeline.passes_for_tests import classifier, labelled

RAW = Settings(raw=True)


def run(*passes, settings=RAW, model=None):
    model = model or classifier()
    steps = [item if isinstance(item, Step) else Step(item) for item in passes]
    data, held_out = datasets(model, labelled(), None, {}, settings.seed)
    return manager.compress(model, steps, data=data, held_out=held_out, settings=settings)
