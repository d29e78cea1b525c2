"""Turn the user's data into the two sets of samples that a run needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnx_compress.compiler.errors import DataError, UsageError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.data.dataset import DataLike, Dataset, load
from onnx_compress.compiler.runtime.data.pictures import PictureSource
from onnx_compress.compiler.runtime.data.preparation import PictureOptions
from onnx_compress.compiler.runtime.data.synthetic import synthetic
from onnx_compress.compiler.runtime.specs import specs

HELD_OUT = 0.25


def datasets(
    model: Model, data: DataLike | None, eval_data: DataLike | None, pictures: Mapping[str, Any], seed: int
) -> tuple[Dataset, Dataset]:
    """The calibration samples and the held-out ones, which share none unless there is only one.

    Without `eval_data` a fixed quarter of `data` is held out; without either, inputs are synthetic. Raises
    DataError for data that do not fit the model, UsageError for picture options without pictures.
    """
    inputs = specs(model).inputs
    options = picture_options(pictures)
    if data is None and eval_data is None:
        return synthetic(model, seed=seed).split(HELD_OUT)
    if data is None:
        raise DataError("evaluation data are given without calibration data: give both, or calibration data alone")
    samples = load(data, inputs, pictures=options)
    held_out = None if eval_data is None else load(eval_data, inputs, pictures=options)
    if pictures:
        _check_read_so(options, samples if held_out is None else held_out, samples)
    return samples.split(HELD_OUT) if held_out is None else (samples, held_out)


def _check_read_so(options: PictureOptions, *found: Dataset) -> None:
    """Raise UsageError if no sample is a picture, or if previously loaded pictures were read with other options."""
    sources = [samples.source for samples in found]
    read = [source for source in sources if isinstance(source, PictureSource)]
    if not read:
        raise UsageError(
            f"[data] says how pictures are read, but {sources[-1].origin} holds arrays: remove [data] from the recipe, "
            "or give a folder or zip of pictures"
        )
    if any(source.options != options for source in read):
        raise UsageError(
            f"[data] says how pictures are read, but those of {read[0].origin} were loaded in another way: "
            "remove [data] from the recipe, or give the path of the pictures"
        )


def picture_options(table: Mapping[str, Any]) -> PictureOptions:
    """The `[data]` section of a recipe as options for pictures. Raises UsageError."""
    options = dict(table)
    if "size" in options:
        options["size"] = _size(options["size"])
    for key in ("mean", "std"):
        if key in options:
            options[key] = _numbers(key, options[key])
    return PictureOptions(**options)


def _size(value: Any) -> tuple[int, int]:
    if not (isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value)):
        raise UsageError(f"pictures: size is [height, width], not {value!r}")
    return value[0], value[1]


def _numbers(key: str, value: Any) -> tuple[float, ...]:
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value):
        raise UsageError(f"pictures: {key} is a list of numbers, one or one per channel, not {value!r}")
    return tuple(float(v) for v in value)
