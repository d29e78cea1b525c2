"""The time of each layer in many forms of one model, measured in place: fused, in its layout, with a warm cache.

A layer timed alone differs from the same layer in a model, where onnxruntime fuses it with its neighbours and converts
layouts between them. So whole models run, and onnxruntime's profile gives the time of each layer.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.session import Session, create
from onnx_compress.compiler.runtime.timing.latency_table import LatencyTable, setting_of, structure_of
from onnx_compress.compiler.runtime.timing.profile import INSERTED, KERNEL, NodeNames

TURNS, RUNS = 6, 4
"""Turns, and runs of a model per turn; the first run of a turn has a cold cache and does not count."""
LEAST_TURNS = 3
SECONDS = 20.0
"""Time after which no further turns start."""
TOGETHER = 1 << 29
"""Most bytes of weights in sessions held side by side, so that their turns can be interleaved."""
LEAST_MS = 1e-6

Build = Callable[[int], Model]
Times = dict[str, float]


@dataclass(frozen=True, eq=False)
class Forms:
    """The forms to time: `build(i)` is form i of `model`, identified by `widths[i]`."""

    model: Model
    widths: Sequence[tuple[int, ...]]
    build: Build


def layer_times(
    forms: Forms,
    feeds: Mapping[str, np.ndarray],
    table: LatencyTable,
    *,
    threads: int = 1,
    advance: Callable[[], object] = lambda: None,
) -> list[Times]:
    """For each form the milliseconds of each layer by its name, from the table, or measured and stored there.

    Nodes that onnxruntime inserts between layers (layout conversions) count towards the next layer.
    """
    prefix = _key(forms, setting_of(feeds, threads, table.machine))
    known = table.under(prefix)
    if not known:
        measured = _measured(forms, feeds, threads, advance)
        known = {f"{i}/{name}": ms for i, times in enumerate(measured) for name, ms in times.items()}
        table.put({f"{prefix}{key}": ms for key, ms in known.items()})
        known = table.under(prefix)  # rounded, as it will be read the next time
    found: list[Times] = [{} for _ in forms.widths]
    for key, ms in known.items():
        number, _, name = key.partition("/")
        found[int(number)][name] = ms
    return found


def _key(forms: Forms, setting: tuple[object, ...]) -> str:
    aliases = [node.layer_name() for node in forms.model.graph.nodes if not node.name]
    text = repr((structure_of(forms.model), aliases, [tuple(map(int, w)) for w in forms.widths], setting))
    return f"layers-{hashlib.sha256(text.encode()).hexdigest()[:24]}/"


def _measured(
    forms: Forms, feeds: Mapping[str, np.ndarray], threads: int, advance: Callable[[], object]
) -> Iterator[Times]:
    """Measure in parts, to bound memory."""
    part: list[Model] = []
    size = 0
    share = 1.0 / max(1, len(forms.widths))
    for i in range(len(forms.widths)):
        model = forms.build(i)
        if part and size + model.weight_bytes() > TOGETHER:
            yield from _timed(part, feeds, threads, advance, SECONDS * share * len(part))
            part, size = [], 0
        part.append(model)
        size += model.weight_bytes()
    yield from _timed(part, feeds, threads, advance, SECONDS * share * len(part))


def _timed(
    models: Sequence[Model],
    feeds: Mapping[str, np.ndarray],
    threads: int,
    advance: Callable[[], object],
    seconds: float,
) -> Iterator[Times]:
    with tempfile.TemporaryDirectory() as folder:
        sessions = [create(m, threads=threads, profile=Path(folder, str(i))) for i, m in enumerate(models)]
        turns = _take_turns([session.runner(feeds) for session in sessions], seconds)
        for model, session in zip(models, sessions, strict=True):
            advance()
            yield _by_layer(model, session, turns)


def _take_turns(runs: Sequence[Callable[[], object]], seconds: float) -> int:
    """Run all models in turns, in a rotating order; return the number of turns."""
    started = time.perf_counter()
    for turn in range(TURNS):
        if turn >= LEAST_TURNS and time.perf_counter() - started > seconds:
            return turn
        for i in range(len(runs)):
            for _ in range(RUNS):
                runs[(i + turn) % len(runs)]()
    return TURNS


def _by_layer(model: Model, session: Session, turns: int) -> Times:
    path = session.end_profiling()
    durations: dict[tuple[str, str], list[int]] = {}
    for event in json.loads(path.read_text()):
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            key = event["name"].removesuffix(KERNEL), event["args"]["op_name"]
            durations.setdefault(key, []).append(event["dur"])
    path.unlink()
    spent = [(key, typical_ms(found, turns)) for key, found in durations.items()]
    layers = [node.layer_name() for node in model.graph.nodes]
    return attributed(zip(NodeNames(model).of_all([key for key, _ in spent]), (ms for _, ms in spent)), layers)


def typical_ms(microseconds: Sequence[int], turns: int) -> float:
    """Milliseconds per run: the mean of the fastest third of the counted runs.

    Other load on the machine only adds time, and a mean resolves less than the clock's microseconds.
    """
    each = max(1, len(microseconds) // (turns * RUNS))
    if len(microseconds) != each * turns * RUNS:  # a node inside a branch does not run every time
        return float(np.mean(microseconds)) * len(microseconds) / (turns * RUNS) / 1000
    runs = np.array(microseconds, np.float64).reshape(turns, RUNS, each).sum(2)[:, 1:].ravel()
    return float(np.sort(runs)[: -(-len(runs) // 3)].mean()) / 1000


def attributed(spent: Iterable[tuple[str, float]], layers: Iterable[str]) -> Times:
    """Times by layer, from the times of the nodes in order of execution; other nodes count towards the next layer."""
    known = dict.fromkeys(layers)
    total: Times = {}
    waiting, last = 0.0, None
    for name, ms in spent:
        if name.endswith(f"({INSERTED})"):
            waiting += ms
        elif name in known:  # nodes in a body are already in the time of the control-flow node
            total[name] = total.get(name, 0.0) + waiting + ms
            waiting, last = 0.0, name
    if last is not None:
        total[last] += waiting
    return {name: max(ms, LEAST_MS) for name, ms in total.items()}
