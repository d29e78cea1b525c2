"""Where a model spends its time, layer by layer, and which layers became slower.

onnxruntime runs other nodes than those in the file: it fuses, changes layouts, and renames the results. Each of its
nodes is mapped back to a node of the model.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.session import Session, create
from onnx_compress.compiler.runtime.specs import ModelLike, as_model

WARMUP = 3
LEAST_SHARE = 0.01
LEAST_GROWTH = 0.10
LEAST_MS = 0.005
"""A layer is reported as slower if it lost this share of the model's time, this share of its own time, and this many
milliseconds: the clock counts whole microseconds."""
INSERTED = "inserted by onnxruntime"
KERNEL = "_kernel_time"
"""Suffix of onnxruntime's events that hold a node's time."""
_FUSION = re.compile(r"^fused |/\w*Fusion\w*/?$")
_COPY = re.compile(r"_token_\d+$")


@dataclass(frozen=True)
class NodeTime:
    """Milliseconds per run spent in a node (median over runs); a control-flow node's time includes its bodies'.

    `name` is the node's name in the model, or its first output's if it has none; nodes that onnxruntime inserted are
    named after their operator.
    """

    name: str
    op: str
    ms: float


class Slower(NamedTuple):
    """A layer that takes longer than before. `before_ms` is 0 for a new layer."""

    name: str
    before_ms: float
    after_ms: float


def profile(model: ModelLike, feeds: Mapping[str, np.ndarray], *, threads: int = 1, runs: int = 20) -> list[NodeTime]:
    """The time of each node over `runs` runs on `feeds`, in order of execution."""
    return _profiles([as_model(model)], feeds, threads, runs)[0]


def slower_nodes(
    before: ModelLike, after: ModelLike, feeds: Mapping[str, np.ndarray], *, threads: int = 1, runs: int = 20
) -> list[Slower]:
    """The layers of `after` that take longer than those of the same name in `before`, the worst first.

    Both models run in turns. See `LEAST_MS` for the thresholds.
    """
    earlier, later = _profiles([as_model(before), as_model(after)], feeds, threads, runs)
    known, now = _by_name(earlier), _by_name(later)
    least = max(LEAST_MS, LEAST_SHARE * sum(known.values()))
    found = [Slower(name, known.get(name, 0.0), ms) for name, ms in now.items()]
    lost = [s for s in found if s.after_ms - s.before_ms > max(least, LEAST_GROWTH * s.before_ms)]
    return sorted(lost, key=lambda s: s.before_ms - s.after_ms)


def _profiles(models: list[Model], feeds: Mapping[str, np.ndarray], threads: int, runs: int) -> list[list[NodeTime]]:
    with tempfile.TemporaryDirectory() as folder:
        sessions = [create(m, threads=threads, profile=Path(folder, str(i))) for i, m in enumerate(models)]
        for _ in range(WARMUP + runs):
            for session in sessions:
                session.run(feeds)
        return [_times(model, session, runs) for model, session in zip(models, sessions, strict=True)]


def _times(model: Model, session: Session, runs: int) -> list[NodeTime]:
    events = json.loads(session.end_profiling().read_text())
    durations: dict[tuple[str, str], list[int]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            key = event["name"].removesuffix(KERNEL), event["args"]["op_name"]
            durations.setdefault(key, []).append(event["dur"])
    names = NodeNames(model).of_all(list(durations))
    found = zip(names, durations.items(), strict=True)
    return [NodeTime(name, op, _median_ms(times, runs)) for name, ((_, op), times) in found]


def _median_ms(microseconds: list[int], runs: int) -> float:
    """Milliseconds per run, without the warm-up; a node in a loop runs several times per run."""
    each = len(microseconds) / (WARMUP + runs)
    counted = microseconds[round(WARMUP * each) :]
    return float(np.median(counted)) * each / 1000


def _by_name(times: Iterable[NodeTime]) -> dict[str, float]:
    total: dict[str, float] = {}
    for item in times:
        total[item.name] = total.get(item.name, 0.0) + item.ms
    return total


class NodeNames:
    """Maps onnxruntime's names of nodes to those of the model's nodes."""

    def __init__(self, model: Model) -> None:
        self._nodes = list(model.graph.nodes)
        everywhere = list(model.nodes())
        self._named = {node.name: node for node in everywhere if node.name}
        self._makers = {out.name: node for node in everywhere for out in node.outputs if out.name}

    def of_all(self, given: Sequence[tuple[str, str]]) -> list[str]:
        """The names to report for all nodes of a run, given onnxruntime's (name, operator).

        onnxruntime fuses a sum of two convolutions with one of them and names the result after the sum: it stands for
        the convolution whose name does not occur otherwise.
        """
        plain = [self.of(name, op) for name, op in given]
        sums = [self._is_sum(name, op) for name, op in given]
        taken = {name for name, is_sum in zip(plain, sums, strict=True) if not is_sum}
        for i, ((name, op), is_sum) in enumerate(zip(given, sums, strict=True)):
            node = self._by_output(name, op, taken) if is_sum else None
            plain[i] = plain[i] if node is None else node.layer_name()
            taken.add(plain[i])
        return plain

    def of(self, given: str, op: str) -> str:
        """The name to report for a node that onnxruntime calls `given`."""
        for name in (given, _COPY.sub("", given), _FUSION.sub("", given)):
            if name in self._named:
                return name
        node = self._by_output(given, op) or self._by_place(given, op)
        return f"{op} ({INSERTED})" if node is None else node.layer_name()

    def _behind(self, given: str) -> Node | None:
        return self._makers.get(_COPY.sub("", given).removesuffix("_nchwc"))

    def _is_sum(self, given: str, op: str) -> bool:
        """Whether the node is named after a sum of several nodes' results."""
        node = self._behind(given)
        while node is not None and node.op != op and len(makers := _makers(node)) == 1:
            node = makers[0]
        return node is not None and node.op != op and given.endswith("_nchwc")

    def _by_output(self, given: str, op: str, taken: Collection[str] = ()) -> Node | None:
        """A convolution in blocked layout is named after its output, perhaps that of a fused activation: trace back."""
        node = self._behind(given)
        seen = 0
        while node is not None and node.op != op and seen < 8:
            makers = _makers(node)
            fitting = [m for m in makers if m.op == op]
            free = [m for m in fitting if m.layer_name() not in taken]
            node = next(iter([*free, *fitting, *makers]), None)
            seen += 1
        return node if node is not None and node.op == op else None

    def _by_place(self, given: str, op: str) -> Node | None:
        """An unnamed node is named after its operator and its position in the file."""
        place = given.removeprefix(f"{op}_")
        if not place.isdecimal() or int(place) >= len(self._nodes):
            return None
        node = self._nodes[int(place)]
        return node if node.op == op and not node.name else None


def _makers(node: Node) -> list[Node]:
    return [tensor.inputs[0] for tensor in node.inputs if tensor.inputs]
