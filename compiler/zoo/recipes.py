"""Inputs for the zoo's models: drawn from a seed, and realistic enough for meaningful outputs.

A text reader answers noise with a confident "nothing", and then every compression looks perfect. So pictures contain
rendered text, sound contains tones with harmonics, and only features are plain noise.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.runtime.data.source import LABELS
from onnx_compress.compiler.runtime.specs import TensorSpec
from onnx_compress.compiler.zoo.manifest import Draw, ZooEntry

SAMPLE_RATE = 16000
HARMONICS = 6

Feed = dict[str, NDArray[np.generic]]


def feeds(entry: ZooEntry, inputs: Sequence[TensorSpec], *, count: int, batch: int = 1, seed: int = 0) -> list[Feed]:
    """`count` feeds of `batch` samples for a model with these inputs; the same for the same seed.

    Raises UsageError if the manifest and the model have different inputs.
    """
    names = {spec.name for spec in inputs}
    if set(entry.inputs) != names:
        raise UsageError(
            f"zoo model '{entry.name}': the manifest feeds {sorted(entry.inputs)}, the model takes {sorted(names)}"
        )
    rng = np.random.default_rng(seed)
    dtypes = {spec.name: spec.dtype for spec in inputs}
    return [
        {name: np.asarray(_draw(draw, batch, rng), dtypes[name]) for name, draw in entry.inputs.items()}
        for _ in range(count)
    ]


def recorded(path: Path, *, count: int, batch: int) -> list[Feed]:
    """The first `count` feeds of `batch` samples from an `.npz` whose arrays are named like the inputs."""
    with np.load(path, allow_pickle=False) as arrays:
        rows = {name: arrays[name][: count * batch] for name in arrays.files if name != LABELS}
    return [{name: array[i * batch : (i + 1) * batch] for name, array in rows.items()} for i in range(count)]


def _draw(draw: Draw, batch: int, rng: np.random.Generator) -> NDArray[np.float64]:
    if draw.draw not in DRAWS:
        raise UsageError(f"the manifest has the unknown draw '{draw.draw}'; use {', '.join(DRAWS)}")
    return DRAWS[draw.draw](draw, draw.at(batch), rng)


def _normal(draw: Draw, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.normal(draw.mean, draw.std, shape)


def _integers(draw: Draw, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.integers(draw.low, draw.high, shape).astype(np.float64)


def _constant(draw: Draw, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    return np.full(shape, draw.value)


def _tones(draw: Draw, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Sound with the standard deviation `std`: a note with harmonics that swells and fades, with background noise."""
    time_axis = int(np.argmax(shape))
    length = shape[time_axis]
    flat = [_tone(length, rng) for _ in range(math.prod(shape) // length)]
    moved = shape[:time_axis] + shape[time_axis + 1 :]
    sound = np.asarray(flat).reshape((*moved, length))
    return draw.mean + draw.std * np.moveaxis(sound, -1, time_axis)


def _tone(length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    seconds = np.arange(length) / SAMPLE_RATE
    pitch = 2 ** rng.uniform(math.log2(80), math.log2(800))
    weights = rng.uniform(0.2, 1, HARMONICS) / np.arange(1, HARMONICS + 1)
    waves = [w * np.sin(2 * np.pi * pitch * k * seconds) for k, w in enumerate(weights, start=1)]
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.5, 4) * seconds + rng.uniform(0, 2 * np.pi))
    return np.asarray(np.sum(waves, axis=0) * swell + rng.normal(0, 0.02, length))


def _text(draw: Draw, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Pictures of dark text on a light background, [N, 3, H, W] or [N, H, W, 3], scaled by `std` around `mean`."""
    last = shape[-1] == 3
    height, width = shape[1:3] if last else shape[2:4]
    pages = np.stack([_page(height, width, rng) for _ in range(shape[0])])
    colours = np.stack([pages] * 3, axis=-1 if last else 1)
    return draw.mean + draw.std * (colours / 127.5 - 1 + rng.normal(0, 0.02, colours.shape))


def _page(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float64]:
    line = min(height, 48)
    page = Image.new("L", (width, height), int(rng.integers(180, 256)))
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=line * 0.7)
    letters = np.array(list(string.ascii_letters + string.digits + "  "))
    for top in range(0, height - line + 1, line):
        words = "".join(rng.choice(letters, max(1, int(2 * width / line))))
        pen.text((int(rng.integers(0, 8)), top), words, fill=int(rng.integers(0, 80)), font=font)
    return np.asarray(page, np.float64)


DRAWS: dict[str, Callable[[Draw, tuple[int, ...], np.random.Generator], NDArray[np.float64]]] = {
    "normal": _normal,
    "integers": _integers,
    "constant": _constant,
    "tones": _tones,
    "text": _text,
}
