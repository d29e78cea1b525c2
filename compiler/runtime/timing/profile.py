"""Where a model spends its time, layer by layer, and which layers became slower.

onnxruntime runs other nodes than the file holds: it fuses, changes layouts, and names the results in its own
way. Each of its nodes is traced back to the node of the model that it stands for.
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
"""A layer is worth naming that lost this share of the model's time, this share of its own, and this much: the clock
counts whole microseconds."""
INSERTED = "inserted by onnxruntime"
KERNEL = "_kernel_time"
"""How the runtime's events end that say how long a node took."""
_FUSION = re.compile(r"^fused |/\w*Fusion\w*/?$")
_COPY = re.compile(r"_token_\d+$")


@dataclass(frozen=True)
class NodeTime:
    """Milliseconds that one run spends in a node (median over runs); a control-flow node's time includes its body's.

    `name` is the node's in the model, or its first output's where it has none; nodes that onnxruntime put in by
    itself go by their operator.
    """

    name: str
    op: str
    ms: float


class Slower(NamedTuple):
    """A layer that takes longer than before. `before_ms` is 0 for one that was not there."""

    name: str
    before_ms: float
    after_ms: float


def profile(model: ModelLike, feeds: Mapping[str, np.ndarray], *, threads: int = 1, runs: int = 20) -> list[NodeTime]:
    """The time of each node over `runs` runs on `feeds`, in the order in which they run."""
    return _profiles([as_model(model)], feeds, threads, runs)[0]


def slower_nodes(
    before: ModelLike, after: ModelLike, feeds: Mapping[str, np.ndarray], *, threads: int = 1, runs: int = 20
) -> list[Slower]:
    """The layers of `after` that take longer than those of the same name in `before`, the worst first.

    Both models run in turns. What counts is said at `LEAST_MS`.
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
    """Milliseconds per run, the warm-up left out; a node in a loop runs several times in each."""
    each = len(microseconds) / (WARMUP + runs)
    counted = microseconds[round(WARMUP * each) :]
    return float(np.median(counted)) * each / 1000


def _by_name(times: Iterable[NodeTime]) -> dict[str, float]:
    total: dict[str, float] = {}
    for item in times:
        total[item.name] = total.get(item.name, 0.0) + item.ms
    return total


class NodeNames:
    """From the name that onnxruntime gives a node to that of the node in the model."""

    def __init__(self, model: Model) -> None:
        self._nodes = list(model.graph.nodes)
        everywhere = list(model.nodes())
        self._named = {node.name: node for node in everywhere if node.name}
        self._makers = {out.name: node for node in everywhere for out in node.outputs if out.name}

    def of_all(self, given: Sequence[tuple[str, str]]) -> list[str]:
        """The names to report for all nodes of a run, (name, operator) as onnxruntime calls them.

        A sum of two convolutions is fused with one of them, and called after the sum: it is the one that has no
        name of its own among the others.
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
        """Whether what the node is called after is the sum of results of several nodes."""
        node = self._behind(given)
        while node is not None and node.op != op and len(makers := _makers(node)) == 1:
            node = makers[0]
        return node is not None and node.op != op and given.endswith("_nchwc")

    def _by_output(self, given: str, op: str, taken: Collection[str] = ()) -> Node | None:
        """A convolution in blocked layout is called after what it computes, activation included: look behind that."""
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
        """A node without a name is called after its operator and its place in the file."""
        place = given.removeprefix(f"{op}_")
        if not place.isdecimal() or int(place) >= len(self._nodes):
            return None
        node = self._nodes[int(place)]
        return node if node.op == op and not node.name else None


def _makers(node: Node) -> list[Node]:
    return [tensor.inputs[0] for tensor in node.inputs if tensor.inputs]
