"""Inputs for the commands that run models: the user's data, or synthetic ones."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.data.dataset import Dataset, load
from onnx_compress.compiler.runtime.data.synthetic import synthetic
from onnx_compress.compiler.runtime.specs import TensorSpec, specs

SYNTHETIC = 16


def samples(model: Model, data: str | None, *, seed: int = 0, count: int = SYNTHETIC) -> Dataset:
    """The samples in `data`, or `count` synthetic ones on which `model` runs. Raises DataError."""
    return synthetic(model, samples=count, seed=seed) if data is None else load(data, specs(model).inputs)


def same_inputs(models: dict[str, Model]) -> None:
    """Raise UsageError unless all models take the same inputs: names, types and fixed dimensions agree."""
    (first, reference), *others = models.items()
    expected = specs(reference).inputs
    for name, model in others:
        found = specs(model).inputs
        pairs = zip_longest(expected, sorted(found, key=_place_in(expected)))
        wrong = next((pair for pair in pairs if not _agree(*pair)), None)
        if wrong is not None:
            one, other = wrong
            raise UsageError(
                f"{name} and {first} take different inputs: {other or 'nothing'} instead of {one or 'nothing'}"
            )


def _place_in(expected: tuple[TensorSpec, ...]) -> Callable[[TensorSpec], int]:
    """A sort key: the order of `expected` by name, others last."""
    names = [spec.name for spec in expected]
    return lambda spec: names.index(spec.name) if spec.name in names else len(names)


def _agree(one: TensorSpec | None, other: TensorSpec | None) -> bool:
    if one is None or other is None or (one.name, one.dtype, one.kind) != (other.name, other.dtype, other.kind):
        return False
    if one.shape is None or other.shape is None:
        return True
    pairs = zip_longest(one.shape, other.shape, fillvalue=0)
    return all(a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in pairs)


def loaded(paths: tuple[Path, ...]) -> dict[str, Model]:
    """The models by display name: the file name, the whole path if two files share it, numbered if repeated."""
    files = [path.name for path in dict.fromkeys(paths)]
    names = [path.name if files.count(path.name) == 1 else str(path) for path in paths]
    shown = [f"{name} ({names[:i].count(name) + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]
    return {name: Model.load(path) for name, path in zip(shown, paths)}
