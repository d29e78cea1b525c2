"""Convert a model to a newer opset, if its outputs stay the same."""

from __future__ import annotations

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.opset import raise_opset
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime import session
from onnx_compress.compiler.runtime.metrics.numerics import numerics

SAMPLES = 4


def raised_twin(model: Model, ctx: Context, version: int) -> Model | str:
    """A clone of `model` at opset `version`, or the reason why that is impossible."""
    if ctx.opset is not None and ctx.opset < version:
        return f"the opset is limited to {ctx.opset}"
    twin = model.clone()
    obstacle = raise_opset(twin, version)
    if obstacle is not None:
        return obstacle
    try:
        results = numerics(session.create(model), session.create(twin), ctx.data.take(SAMPLES, ctx.seed))
    except ModelError as error:
        return str(error)
    moved = next((name for name, result in results.items() if not result.within()), None)
    return twin if moved is None else f"at opset {version} the output '{moved}' would change"
