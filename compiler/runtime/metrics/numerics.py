"""The numerical difference between the outputs of two models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.compiler.runtime.outputs import Arrays, Recording, batch_size, outputs
from onnx_compress.compiler.runtime.session import Session
from onnx_compress.compiler.runtime.specs import TensorSpec

EXACT_TOLERANCE = 1e-5
"""Share of an output's scale by which an exact pass may move it: float32 summed in another order."""


@dataclass(frozen=True)
class Numerics:
    """One output y′ of a candidate against y of the reference, over all samples.

    `max_abs` is max|y′ − y|, `scale` max|y|, `cosine` y·y′ / (‖y‖ ‖y′‖) (1 where both are zero), `sqnr_db`
    10 log₁₀ ‖y‖² / ‖y − y′‖² (infinite when equal); all over the elements that are finite in both.
    `nonfinite` counts the elements where y or y′ is NaN or infinite and the other is different.
    `mismatched` counts unequal elements of types that are compared exactly (integers, booleans, strings).
    `resolution` is the spacing of the output's type at 1. `problem` says why the output could not be compared.
    """

    max_abs: float
    scale: float
    cosine: float
    sqnr_db: float
    nonfinite: int = 0
    mismatched: int = 0
    elements: int = 0
    resolution: float = 0.0
    problem: str | None = None

    def within(self, tolerance: float = EXACT_TOLERANCE) -> bool:
        """Whether the difference is at most `tolerance` of the scale, or two steps of a half-precision type."""
        if self.problem is not None or self.nonfinite or self.mismatched:
            return False
        return self.max_abs <= max(tolerance, 2 * self.resolution) * self.scale

    def __str__(self) -> str:
        if self.problem is not None:
            return self.problem
        if self.mismatched:
            return f"{self.mismatched} of {self.elements} elements differ"
        odd = f", {self.nonfinite} NaN or infinite in only one" if self.nonfinite else ""
        figures = f"max |Δ| {self.max_abs:.3g} at scale {self.scale:.3g}, cosine {self.cosine:.6f}"
        return f"{figures}, SQNR {self.sqnr_db:.1f} dB{odd}"


def numerics(
    reference: Session | Recording, candidate: Session, dataset: Dataset, *, size: int | None = None
) -> dict[str, Numerics]:
    """Compare the outputs of two models on `dataset`, in batches of `size` (None: chosen for the models).

    A `reference` that is a Recording must come from the same dataset and `size`, which is then required. Outputs are
    matched by name, in the
    order of the reference; an output of only one of the models appears with a `problem`.
    """
    if size is None:
        assert not isinstance(reference, Recording)
        size = common_size(reference, candidate.inputs, dataset)
    tallies: dict[str, _Tally] = {}
    for expected, (_, found) in zip(
        _reference(reference, dataset, size), outputs(candidate, dataset, size), strict=True
    ):
        for name in [*expected, *(name for name in found if name not in expected)]:
            tallies.setdefault(name, _Tally()).add(expected.get(name), found.get(name))
    return {name: tally.result() for name, tally in tallies.items()}


def common_size(reference: Session, inputs: Sequence[TensorSpec], dataset: Dataset) -> int:
    """The number of samples per run of `reference` and a model with these inputs; only one may have a fixed batch."""
    return dataset.for_inputs(inputs).layout.fixed or batch_size(reference, dataset)


def worst(results: Mapping[str, Numerics]) -> Numerics:
    """The output that changed most: one with a problem, else the lowest SQNR. Raises ValueError without outputs."""
    return min(results.values(), key=lambda n: (n.problem is None, n.nonfinite + n.mismatched == 0, n.sqnr_db))


def _reference(reference: Session | Recording, dataset: Dataset, size: int) -> Iterable[Arrays]:
    if isinstance(reference, Recording):
        return reference
    return (arrays for _, arrays in outputs(reference, dataset, size))


class _Tally:
    """Sums over the elements of one output, in float64."""

    def __init__(self) -> None:
        self.max_abs = self.scale = 0.0
        self.dot = self.square = self.square_candidate = self.square_error = 0.0
        self.nonfinite = self.mismatched = self.elements = 0
        self.resolution = 0.0
        self.problem: str | None = None

    def add(self, expected: np.ndarray | None, found: np.ndarray | None) -> None:
        self.problem = self.problem or _problem(expected, found)
        if self.problem is not None or expected is None or found is None:
            return
        self.elements += expected.size
        if expected.dtype.kind in "iubOUS":
            self.mismatched += int(np.sum(expected != found))
            return
        self.resolution = max(self.resolution, _resolution(expected.dtype))
        self._add_numbers(expected.astype(np.float64).ravel(), found.astype(np.float64).ravel())

    def _add_numbers(self, expected: np.ndarray, found: np.ndarray) -> None:
        finite = np.isfinite(expected) & np.isfinite(found)
        odd_expected, odd_found = expected[~finite], found[~finite]
        same = (odd_expected == odd_found) | (np.isnan(odd_expected) & np.isnan(odd_found))
        self.nonfinite += int(np.sum(~same))
        expected, found = expected[finite], found[finite]
        error = found - expected
        self.max_abs = max(self.max_abs, float(np.max(np.abs(error), initial=0.0)))
        self.scale = max(self.scale, float(np.max(np.abs(expected), initial=0.0)))
        self.dot += float(expected @ found)
        self.square += float(expected @ expected)
        self.square_candidate += float(found @ found)
        self.square_error += float(error @ error)

    def result(self) -> Numerics:
        if self.problem is not None:
            return Numerics(math.inf, self.scale, 0.0, -math.inf, problem=self.problem)
        return Numerics(
            max_abs=self.max_abs,
            scale=self.scale,
            cosine=cosine(self.dot, self.square, self.square_candidate),
            sqnr_db=_sqnr(self.square, self.square_error),
            nonfinite=self.nonfinite,
            mismatched=self.mismatched,
            elements=self.elements,
            resolution=self.resolution,
        )


def cosine(dot: float, square: float, square_other: float) -> float:
    """The cosine of two vectors from their products with each other and themselves; 1 for two zero vectors."""
    if square == 0 or square_other == 0:
        return float(square == square_other)
    return dot / math.sqrt(square) / math.sqrt(square_other)


def _sqnr(square: float, square_error: float) -> float:
    if square_error == 0:
        return math.inf
    return 10 * math.log10(square / square_error) if square else -math.inf


def _problem(expected: np.ndarray | None, found: np.ndarray | None) -> str | None:
    if expected is None or found is None:
        return "only one of the models has this output"
    if expected.shape != found.shape:
        return f"shape {list(found.shape)} instead of {list(expected.shape)}"
    if expected.dtype != found.dtype:
        return f"type {found.dtype} instead of {expected.dtype}"
    return None


def _resolution(dtype: np.dtype) -> float:
    """Spacing of half-precision numbers at 1; 0 for float32 and finer, whose spacing EXACT_TOLERANCE already allows."""
    return float(np.finfo(dtype).eps) if dtype.itemsize < 4 else 0.0
