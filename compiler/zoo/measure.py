"""One pipeline on one model, measured on the saved file, with inputs that the pipeline has not seen."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnx_compress.compiler.errors import CompressError
from onnx_compress.compiler.pipeline import spec
from onnx_compress.compiler.pipeline.api import Result, compress
from onnx_compress.compiler.pipeline.base import Effect
from onnx_compress.compiler.runtime.data.batch_layout import BatchLayout
from onnx_compress.compiler.runtime.data.dataset import Dataset, load
from onnx_compress.compiler.runtime.session import Session, create
from onnx_compress.compiler.runtime.specs import specs
from onnx_compress.compiler.zoo.identity import round_trip
from onnx_compress.compiler.zoo.manifest import ZooEntry
from onnx_compress.compiler.zoo.recipes import Feed, feeds, recorded
from onnx_compress.compiler.zoo.trial import FAILED, IDENTITY, OK, Trial

EXACT_ERROR = 5e-11
"""Largest 1 − cosine after an EXACT pass: that of outputs whose distance is 1e-5 of their norm."""
UNSEEN = 8
UNSEEN_SEED = 1
BATCHES = (1, 3)

Outputs = dict[str, NDArray[np.generic]]


def measure(entry: ZooEntry, path: Path, pipeline: str, folder: Path) -> Trial:
    """Run `pipeline` on the model at `path` and examine the result, which is saved in `folder`.

    An error of the pipeline is not raised, but becomes a failed trial.
    """
    start = time.perf_counter()
    try:
        trial = _identity(entry, path) if pipeline == IDENTITY else _pipeline(entry, path, pipeline, folder)
    except CompressError as error:
        trial = _failed(entry, pipeline, str(error))
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        trial = _failed(entry, pipeline, f"{type(error).__name__} in {last.name}: {error}")
    return trial.after(time.perf_counter() - start)


def _failed(entry: ZooEntry, pipeline: str, problem: str) -> Trial:
    return Trial(model=entry.name, pipeline=pipeline, status=FAILED, problems=(" ".join(problem.split()),))


def _identity(entry: ZooEntry, path: Path) -> Trial:
    problems = tuple(round_trip(path))
    return Trial(model=entry.name, pipeline=IDENTITY, status=FAILED if problems else OK, problems=problems)


def _pipeline(entry: ZooEntry, path: Path, pipeline: str, folder: Path) -> Trial:
    result = compress(path, pipeline, data=entry.base / entry.data if entry.data else synthetic(entry, path))
    out = folder / "out.onnx"
    result.save(out, force=True)
    examined = _examine(entry, path, out, is_exact=all(p.effect is Effect.EXACT for p in spec.parse(pipeline)))
    return Trial(
        model=entry.name,
        pipeline=pipeline,
        status=FAILED if examined.problems else OK,
        problems=examined.problems,
        kept=tuple(p.name for p in result.report.passes if p.kept and p.changed),
        rolled_back=tuple(p.name for p in result.report.passes if not p.kept),
        bytes=_rounded(out.stat().st_size / path.stat().st_size),
        macs=_ratio(result, "macs"),
        latency=_ratio(result, "latency_ms"),
        error=examined.error,
    )


def samples(entry: ZooEntry, path: Path) -> dict[str, NDArray[np.generic]]:
    """Samples for the model in the form of `compress`: along axis 0, which is added in front of whole inputs."""
    inputs = specs(path).inputs
    batched = BatchLayout.of(inputs).batched
    drawn = feeds(entry, inputs, count=entry.samples)
    join = {name: np.concatenate if name in batched else np.stack for name in entry.inputs}
    return {name: join[name]([feed[name] for feed in drawn]) for name in entry.inputs}


def synthetic(entry: ZooEntry, path: Path) -> Dataset:
    """The samples as a dataset marked as synthetic: passes must not repair with random inputs."""
    dataset = load(samples(entry, path), specs(path).inputs)
    dataset.source.real = False
    return dataset


def _ratio(result: Result, figure: str) -> float | None:
    before, after = (getattr(f, figure) for f in (result.report.input, result.report.output))
    return _rounded(after / before) if before and after is not None else None


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


@dataclass(frozen=True)
class _Examined:
    """The findings of running the result and the original on the same inputs."""

    problems: tuple[str, ...]
    error: float | None


def _examine(entry: ZooEntry, original: Path, result: Path, *, is_exact: bool = False) -> _Examined:
    before, after = create(original), create(result)
    problems = [] if specs(original) == specs(result) else ["the signature differs from the original's"]
    pairs: list[tuple[Outputs, Outputs]] = []
    for batch in BATCHES if entry.dynamic_batch else BATCHES[:1]:
        pairs += [(before.run(feed), after.run(feed)) for feed in _unseen(entry, before, batch)]
    for old, new in pairs:
        problems += _faults(old, new)
    error = None if problems else _rounded(max(_errors(pairs), default=0.0))
    if is_exact and error is not None and error > EXACT_ERROR:
        problems.append(f"an exact pipeline changed the outputs: 1 − cosine is {error:.1e}")
    return _Examined(tuple(dict.fromkeys(problems)), error)


def _unseen(entry: ZooEntry, session: Session, batch: int) -> list[Feed]:
    if entry.unseen:
        cast = {spec.name: spec.dtype for spec in session.inputs}
        found = recorded(entry.base / entry.unseen, count=UNSEEN, batch=batch)
        return [{name: np.asarray(array, cast[name]) for name, array in feed.items()} for feed in found]
    return feeds(entry, session.inputs, count=UNSEEN, batch=batch, seed=UNSEEN_SEED)


def _faults(old: Outputs, new: Outputs) -> Iterator[str]:
    for name, array in old.items():
        if new[name].shape != array.shape:
            yield f"output '{name}' has shape {new[name].shape}, the original's {array.shape}"
        elif array.dtype.kind == "f" and np.isfinite(array).all() and not np.isfinite(new[name]).all():
            yield f"output '{name}' is not finite"


def _errors(pairs: Sequence[tuple[Outputs, Outputs]]) -> Iterator[float]:
    """1 − cosine of each float output over all runs, as half the squared distance of the unit vectors."""
    for name in [name for name, array in pairs[0][0].items() if array.dtype.kind == "f"]:
        old, new = (np.concatenate([pair[i][name].ravel() for pair in pairs]).astype(float) for i in (0, 1))
        norms = np.linalg.norm(old), np.linalg.norm(new)
        if all(norms):
            yield float(np.sum((old / norms[0] - new / norms[1]) ** 2) / 2)
        else:
            yield float(norms[0] != norms[1])
