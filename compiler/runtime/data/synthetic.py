"""Synthetic inputs for a model without data: drawn from the declared types and shapes, and tried before use.

A declared shape says little about what a model accepts, so guesses are tried from the likely to the unlikely: sizes of
free dimensions and values of integers (below the size of the table that they index, or a value that the graph compares
them with) until the model runs and some output is neither empty nor zero; then ranges of floats until no output is NaN
or infinite.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from onnx_compress.compiler.errors import DataError, UserError
from onnx_compress.compiler.runtime.data.batch_layout import BatchLayout
from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.compiler.runtime.data.input_hints import Hints, hints_of
from onnx_compress.compiler.runtime.data.source import Feeds, chunks
from onnx_compress.compiler.runtime.session import Session, create
from onnx_compress.compiler.runtime.specs import Dim, ModelLike, TensorSpec

SIZES = ((64, 16), (224, 128), (32, 8), (256, 512), (128, 64), (640, 1024), (512, 16000), (8, 2), (1, 1))
"""Candidates for free dimensions: (height and width, other lengths)."""
WHOLE_NUMBERS = ("drawn", "compared", "lengths", "ones", "zeros")
NUMBERS = ("normal", "unit", "ones")
_WORDS = np.array(["a", "model", "made", "of", "words", "0", "1", ""], object)


@dataclass(frozen=True)
class Guess:
    """How inputs are drawn: sizes of free dimensions, and distributions of integers and floats.

    `numbers`, for floats: 'normal' (mean 0, variance 1), 'unit' (uniform in [0, 1)), 'ones'. `whole`, for integers:
    'drawn' (below the size of the table that they index; 0 to 255 for uint8; else 0 or 1), 'compared' (a value that
    the graph compares them with), 'lengths' (of the free dimensions), 'ones', 'zeros'.
    """

    spatial: int = SIZES[0][0]
    length: int = SIZES[0][1]
    whole: str = WHOLE_NUMBERS[0]
    numbers: str = NUMBERS[0]


class SyntheticSource:
    """Samples that are drawn when read: sample i depends only on the seed and i.

    Inputs without a batch are the same for all samples.
    """

    real = False
    labels = None
    origin = "synthetic inputs"

    def __init__(self, layout: BatchLayout, hints: Hints, guess: Guess, count: int, seed: int) -> None:
        self.layout = layout
        self.guess = guess
        self._hints = hints
        self._count = count
        self._seed = seed
        self._shapes = _sample_shapes(layout, guess)
        whole = [spec for spec in layout.inputs if spec.name not in layout.batched]
        self._whole = self._draw(whole, np.random.default_rng([seed, 0]))

    def __len__(self) -> int:
        return self._count

    def with_guess(self, guess: Guess) -> SyntheticSource:
        """The same number of samples from the same seed, drawn by another guess."""
        return SyntheticSource(self.layout, self._hints, guess, self._count, self._seed)

    def for_layout(self, layout: BatchLayout) -> SyntheticSource:
        """See `Source.for_layout`; drawn by the same guess."""
        return SyntheticSource(layout, self._hints, self.guess, self._count, self._seed)

    def read(self, indices: np.ndarray, size: int) -> Iterator[tuple[Feeds, int]]:
        """See `Source.read`."""
        for chosen in chunks(indices, size):
            samples = [self._sample(int(i)) for i in chosen]
            batched = {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
            yield {**batched, **self._whole}, len(chosen)

    def _sample(self, index: int) -> Feeds:
        batched = [spec for spec in self.layout.inputs if spec.name in self.layout.batched]
        return self._draw(batched, np.random.default_rng([self._seed, 1 + index]))

    def _draw(self, specs: list[TensorSpec], rng: np.random.Generator) -> Feeds:
        return {spec.name: self._values(spec, self._shapes[spec.name], rng) for spec in specs}

    def _values(self, spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        dtype = spec.dtype
        if dtype is None or dtype.kind == "O":
            return np.asarray(rng.choice(_WORDS, shape), object)
        if dtype.kind in "iub":
            return np.asarray(self._whole_numbers(spec.name, dtype, shape, rng), dtype)
        if self.guess.numbers == "ones":
            return np.ones(shape, dtype)
        draw = rng.standard_normal if self.guess.numbers == "normal" else rng.random
        return np.asarray(draw(shape), dtype)

    def _whole_numbers(
        self, name: str, dtype: np.dtype, shape: tuple[int, ...], rng: np.random.Generator
    ) -> np.ndarray:
        below = self._hints.below.get(name, 256 if dtype == np.uint8 else 2)
        if self.guess.whole == "drawn":
            return rng.integers(0, max(1, below), shape)
        if self.guess.whole == "lengths":
            return np.full(shape, min(self.guess.length, self._hints.below.get(name, self.guess.length + 1) - 1))
        if self.guess.whole == "compared":
            return np.full(shape, self._hints.equal.get(name, 1))
        return np.full(shape, int(self.guess.whole == "ones"))


def synthetic(model: ModelLike, *, samples: int = 64, seed: int = 0, session: Session | None = None) -> Dataset:
    """`samples` synthetic samples on which `model` runs, the same for the same model and seed.

    `session` is the loaded model, if there is one. Raises DataError if no guess works.
    """
    session = session or create(model)
    layout = BatchLayout.of(session.inputs)
    odd = next((spec for spec in layout.inputs if spec.dtype is None), None)
    if odd is not None:
        raise DataError(f"input '{odd.name}' is a {odd.kind}: synthetic inputs are tensors only; give --data")
    count = samples if layout.batched else 1  # without a batch all samples would be the same
    hints, reason = hints_of(model), ""
    running: SyntheticSource | None = None
    for guess in _guesses(layout):
        source = SyntheticSource(layout, hints, guess, count, seed)
        try:
            found = _first_outputs(session, source)
        except UserError as error:
            reason = str(error)
            continue
        running = running or source
        if _is_telling(found):
            return Dataset.of(_finite(session, source, found))
    if running is None:
        raise DataError(f"the model runs on none of the synthetic inputs tried ({reason}): give --data")
    return Dataset.of(running)


def _guesses(layout: BatchLayout) -> Iterator[Guess]:
    is_free = any(not isinstance(dim, int) for spec in layout.inputs for dim in _behind_batch(layout, spec))
    has_whole = any(spec.dtype is not None and spec.dtype.kind in "iub" for spec in layout.inputs)
    for spatial, length in SIZES if is_free else SIZES[:1]:
        for whole in WHOLE_NUMBERS if has_whole else WHOLE_NUMBERS[:1]:
            yield Guess(spatial, length, whole)


def _first_outputs(session: Session, source: SyntheticSource) -> list[np.ndarray]:
    return list(session.run(next(Dataset.of(source).runs(1)).feeds).values())


def _is_telling(outputs: list[np.ndarray]) -> bool:
    """Whether some output has a finite non-zero value: for a signal that is too short, outputs may be empty."""
    return any(a.dtype.kind == "O" or np.any(np.isfinite(a) & (a != 0)) for a in outputs)


def _is_finite(outputs: list[np.ndarray]) -> bool:
    return all(np.isfinite(a).all() for a in outputs if a.dtype.kind == "f")


def _finite(session: Session, source: SyntheticSource, found: list[np.ndarray]) -> SyntheticSource:
    """`source`, whose outputs are `found`, or with the first range of floats that makes the outputs finite, if any."""
    if _is_finite(found):
        return source
    for numbers in NUMBERS[1:]:
        other = source.with_guess(replace(source.guess, numbers=numbers))
        try:
            if _is_finite(_first_outputs(session, other)):
                return other
        except UserError:
            continue
    return source


def _behind_batch(layout: BatchLayout, spec: TensorSpec) -> tuple[Dim, ...]:
    shape = spec.shape or ()
    return shape[1:] if spec.name in layout.batched else shape


def _sample_shapes(layout: BatchLayout, guess: Guess) -> dict[str, tuple[int, ...]]:
    """The shape of one sample of each input; dimensions of the same name have the same size.

    Inputs that hold a batch come first: the positions of their dimensions are more telling.
    """
    sizes: dict[str, int] = {
        spec.shape[0]: 1
        for spec in layout.inputs
        if spec.name in layout.batched and spec.shape and isinstance(spec.shape[0], str)
    }
    return {
        spec.name: tuple(
            dim
            if isinstance(dim, int)
            else sizes.setdefault(dim or f"{spec.name}/{axis}", _size(layout, spec, axis, guess))
            for axis, dim in _numbered(layout, spec)
        )
        for spec in sorted(layout.inputs, key=lambda spec: spec.name not in layout.batched)
    }


def _numbered(layout: BatchLayout, spec: TensorSpec) -> list[tuple[int, Dim]]:
    """Axes and dimensions of one sample."""
    first = 1 if spec.name in layout.batched else 0
    return list(enumerate(spec.shape or ()))[first:]


def _size(layout: BatchLayout, spec: TensorSpec, axis: int, guess: Guess) -> int:
    """A size for a free dimension, guessed from its position."""
    shape = spec.shape or ()
    if spec.name not in layout.batched and layout.batched:
        return 1  # most likely the batch: a state [layers, batch, width]
    if len(shape) < 4:
        return guess.length
    channels_last = shape[-1] in (1, 3, 4) and not isinstance(shape[1], int)
    return 3 if axis == (len(shape) - 1 if channels_last else 1) else guess.spatial
