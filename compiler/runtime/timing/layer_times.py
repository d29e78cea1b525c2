"""The time of each layer in many forms of one model, taken where the layer stands: fused, in its layout, in the cache.

A layer alone is another one than the same layer in a model, where onnxruntime fuses it with its neighbours and
converts layouts between them. So whole models run, and the runtime's own profile says what each layer took.
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
"""In each turn a model runs so often in a row, of which the first, with a cold cache, does not count."""
LEAST_TURNS = 3
SECONDS = 20.0
"""Once these are over there are no further turns."""
TOGETHER = 1 << 29
"""Bytes of weights up to which sessions are held side by side, so that their turns can be interleaved."""
LEAST_MS = 1e-6

Build = Callable[[int], Model]
Times = dict[str, float]


@dataclass(frozen=True, eq=False)
class Forms:
    """What is to be timed: `build(i)` is form i of `model`; `widths[i]` tells it from the other forms."""

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
    """For each form the milliseconds of each layer by its name, from the table, else measured and noted there.

    What onnxruntime puts in between layers (conversions of layout) counts to the layer that runs next.
    """
    prefix = _key(forms, setting_of(feeds, threads, table.machine))
    known = table.under(prefix)
    if not known:
        measured = _measured(forms, feeds, threads, advance)
        known = {f"{i}/{name}": ms for i, times in enumerate(measured) for name, ms in times.items()}
        table.put({f"{prefix}{key}": ms for key, ms in known.items()})
        known = table.under(prefix)  # rounded as it will be read the next time
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
    """Part by part, so that what is in memory at once is bounded."""
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
    """Let all models run in turns, in an order that rotates; returns how many turns there were."""
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
    """Milliseconds per run: the mean of the fastest third of the runs that count.

    What else the machine does only adds time; and the mean sees below the clock's whole microseconds.
    """
    each = max(1, len(microseconds) // (turns * RUNS))
    if len(microseconds) != each * turns * RUNS:  # it does not run in every run: inside a branch
        return float(np.mean(microseconds)) * len(microseconds) / (turns * RUNS) / 1000
    runs = np.array(microseconds, np.float64).reshape(turns, RUNS, each).sum(2)[:, 1:].ravel()
    return float(np.sort(runs)[: -(-len(runs) // 3)].mean()) / 1000


def attributed(spent: Iterable[tuple[str, float]], layers: Iterable[str]) -> Times:
    """Times by layer, from those of what ran, in order: anything else counts to the layer that runs next."""
    known = dict.fromkeys(layers)
    total: Times = {}
    waiting, last = 0.0, None
    for name, ms in spent:
        if name.endswith(f"({INSERTED})"):
            waiting += ms
        elif name in known:  # not inside a body, whose time the node that holds it has already
            total[name] = total.get(name, 0.0) + waiting + ms
            waiting, last = 0.0, name
    if last is not None:
        total[last] += waiting
    return {name: max(ms, LEAST_MS) for name, ms in total.items()}
