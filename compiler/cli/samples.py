"""Inputs for the commands that run models: the user's data, or made-up ones."""

from __future__ import annotations

from pathlib import Path

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.data import Dataset, load
from onnx_compress.compiler.runtime.specs import TensorSpec, specs
from onnx_compress.compiler.runtime.synthetic import synthetic

MADE_UP = 16


def samples(model: Model, data: str | None, *, seed: int = 0, count: int = MADE_UP) -> Dataset:
    """The samples in `data`, or `count` made-up ones on which `model` runs. Raises DataError."""
    return synthetic(model, samples=count, seed=seed) if data is None else load(data, specs(model).inputs)


def same_inputs(models: dict[str, Model]) -> None:
    """Raise UsageError unless all models take inputs of the same names and types."""
    (first, reference), *others = models.items()
    expected = [_kind(spec) for spec in specs(reference).inputs]
    for name, model in others:
        found = [_kind(spec) for spec in specs(model).inputs]
        if found != expected:
            one = next((kind for kind in expected if kind not in found), None)
            other = next((kind for kind in found if kind not in expected), "nothing in its place")
            raise UsageError(f"{name} takes other inputs than {first}: {other} instead of {one or 'no such input'}")


def _kind(spec: TensorSpec) -> str:
    return f"'{spec.name}' ({spec.kind if spec.dtype is None else spec.dtype})"


def loaded(paths: tuple[Path, ...]) -> dict[str, Model]:
    """The models by what people call them: file names, whole paths where two files share one, numbered repetitions."""
    files = [path.name for path in dict.fromkeys(paths)]
    names = [path.name if files.count(path.name) == 1 else str(path) for path in paths]
    shown = [f"{name} ({names[:i].count(name) + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]
    return {name: Model.load(path) for name, path in zip(shown, paths)}
