"""Run the zoo, one process per model, so that a crash, a leak or a hang costs one pipeline, not the run."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from onnx_compress.compiler.pipeline import spec
from onnx_compress.compiler.zoo.locate import locate
from onnx_compress.compiler.zoo.manifest import ZooEntry
from onnx_compress.compiler.zoo.measure import measure
from onnx_compress.compiler.zoo.trial import FAILED, IDENTITY, PIPELINES, TIMEOUT, Trial

SECONDS = 120.0
MEMORY = 8 << 30


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one process: `seconds` per pipeline, `memory` in bytes of its data segment."""

    seconds: float = SECONDS
    memory: int = MEMORY


def run(
    entries: Iterable[ZooEntry],
    cache: Path,
    *,
    pipelines: Sequence[str] = PIPELINES,
    limits: Limits | None = None,
) -> Iterator[Trial]:
    """Run every pipeline on every model, one after another, and yield each trial when it is done.

    Raises UserError if a model is missing, or a pipeline names an unknown pass.
    """
    for pipeline in pipelines:
        if pipeline != IDENTITY:
            spec.parse(pipeline)
    for entry in entries:
        with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
            path = locate(entry, cache, Path(folder))
            yield from _run_model(_Job(entry, path, Path(folder)), pipelines, limits or Limits())


@dataclass(frozen=True)
class _Job:
    entry: ZooEntry
    path: Path
    folder: Path


def _run_model(job: _Job, pipelines: Sequence[str], limits: Limits) -> Iterator[Trial]:
    """Run the pipelines; after one that ended its process, continue in a new process."""
    left = list(pipelines)
    while left:
        for trial in _run_process(job, tuple(left), limits):
            left.remove(trial.pipeline)
            yield trial


def _run_process(job: _Job, pipelines: Sequence[str], limits: Limits) -> Iterator[Trial]:
    # "spawn", not "fork": a forked onnxruntime has locks that no thread of the child ever releases.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, job, pipelines, limits.memory), daemon=True)
    process.start()
    theirs.close()
    try:
        for pipeline in pipelines:
            if not ours.poll(limits.seconds):
                yield _ended(job, pipeline, TIMEOUT, f"not done after {limits.seconds:g} s").after(limits.seconds)
                return
            try:
                yield Trial.from_json(json.loads(ours.recv_bytes()))
            except EOFError:
                process.join()
                yield _ended(job, pipeline, FAILED, f"the process died with exit code {process.exitcode}")
                return
    finally:
        process.kill()
        process.join()
        ours.close()


def _ended(job: _Job, pipeline: str, status: str, problem: str) -> Trial:
    return Trial(model=job.entry.name, pipeline=pipeline, status=status, problems=(problem,))


def _work(results: Connection, job: _Job, pipelines: Sequence[str], memory: int) -> None:
    """The work of the process: measure, and send each trial as JSON."""
    _limit_memory(memory)
    for pipeline in pipelines:
        trial = measure(job.entry, job.path, pipeline, job.folder)
        try:
            results.send_bytes(json.dumps(trial.to_json()).encode())
        except BrokenPipeError:  # the run ended, and nobody reads the results
            return


def _limit_memory(memory: int) -> None:
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limits
        return
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
