"""Run the zoo, one process per model, so that a crash, a leak or a hang costs one pipeline, not the run."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Event

from onnx_compress.compiler.pipeline import spec
from onnx_compress.compiler.zoo.locate import locate
from onnx_compress.compiler.zoo.manifest import ZooEntry
from onnx_compress.compiler.zoo.measure import measure
from onnx_compress.compiler.zoo.trial import FAILED, IDENTITY, PIPELINES, TIMEOUT, Trial

SECONDS = 120.0
MEMORY = 8 << 30
POLL = 0.5
"""Seconds after which a wait for a result notices that the run has ended."""


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
    jobs: int = 1,
) -> Iterator[Trial]:
    """Run every pipeline on every model and yield each trial when it is done.

    `jobs` models run at once; with several, trials have no latency, because each slows down the others. Raises
    UserError if a model is missing, or a pipeline names an unknown pass.
    """
    for pipeline in pipelines:
        if pipeline != IDENTITY:
            spec.parse(pipeline)
    chosen, ended = list(entries), Event()
    found: SimpleQueue[Trial | Exception | None] = SimpleQueue()

    def work(entry: ZooEntry) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
                job = _Job(entry, locate(entry, cache, Path(folder)), Path(folder))
                for trial in _run_model(job, pipelines, limits or Limits(), ended):
                    found.put(trial if jobs == 1 else replace(trial, latency=None))
            found.put(None)
        except Exception as error:
            found.put(error)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            for entry in chosen:
                pool.submit(work, entry)
            yield from _trials(found, len(chosen))
        finally:
            ended.set()
            pool.shutdown(cancel_futures=True)


def _trials(found: SimpleQueue[Trial | Exception | None], models: int) -> Iterator[Trial]:
    """The trials until all `models` are done; an error of one ends the run."""
    while models:
        item = found.get()
        if isinstance(item, Exception):
            raise item
        if item is None:
            models -= 1
        else:
            yield item


@dataclass(frozen=True)
class _Job:
    """A model at `path`, and a `folder` for results."""

    entry: ZooEntry
    path: Path
    folder: Path


def _run_model(job: _Job, pipelines: Sequence[str], limits: Limits, ended: Event) -> Iterator[Trial]:
    """Run the pipelines until `ended` is set; after one that ended its process, continue in a new process."""
    left = list(pipelines)
    while left and not ended.is_set():
        for trial in _run_process(job, tuple(left), limits, ended):
            left.remove(trial.pipeline)
            yield trial


def _run_process(job: _Job, pipelines: Sequence[str], limits: Limits, ended: Event) -> Iterator[Trial]:
    # "spawn", not "fork": a forked onnxruntime has locks that no thread of the child ever releases.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, job, pipelines, limits.memory), daemon=True)
    process.start()
    theirs.close()
    try:
        for pipeline in pipelines:
            if not _arrives(ours, limits.seconds, ended):
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


def _arrives(results: Connection, seconds: float, ended: Event) -> bool:
    """Whether a result arrives in time and before `ended` is set."""
    end = time.monotonic() + seconds
    while not ended.is_set():
        left = end - time.monotonic()
        if results.poll(max(0.0, min(left, POLL))):
            return True
        if left <= 0:
            return False
    return False


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
