"""The channel block of onnxruntime's kernels on this machine: the step in which the number of channels costs time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.session import create
from onnx_compress.compiler.runtime.timing.latency_table import LatencyTable, keys_of

STEPS = (32, 16, 8, 4, 2)
"""Candidate widths of a kernel's channel block, widest first."""
WIDTHS = (41, 42, 44, 48, 56, 64)
"""They distinguish each step from its half: 41 rounds up to 42, 44, 48, 48 and 64."""
SLACK = 1.08
"""Most that rounding up may cost: half of the cost of another block of 8 at 56 channels."""
LAYERS, SIZE = 3, 28
ENDS = 16
"""Channels of the net's input and output, whatever its width."""
ROUNDS = 80
INPUT = "x"


def channel_step(table: LatencyTable, threads: int = 1) -> int:
    """The widest step to whose multiples widths can be rounded up at no cost: 16 on AVX-512.

    Measured with 3×3 convolutions over 28×28, once per machine: the table keeps the times.
    """
    nets = {str(width): _net(width) for width in WIDTHS}
    feeds = {INPUT: np.zeros((1, ENDS, SIZE, SIZE), np.float32)}
    keys = keys_of(nets, feeds, threads, table.machine)
    known = table.get(list(keys.values()))
    if known is None:
        runs = [create(net, threads=threads).runner(feeds) for net in nets.values()]
        table.put(dict(zip(keys.values(), _fastest_ms(runs), strict=True)))
        known = table.get(list(keys.values()))
        assert known is not None
    return step_of(dict(zip(WIDTHS, known, strict=True)))


def _fastest_ms(runs: Sequence[Callable[[], object]]) -> list[float]:
    """The least time of each, run in turns: other work on the machine only adds time, and not always."""
    times = np.zeros((ROUNDS, len(runs)))
    for row in times:
        for i, run in enumerate(runs):
            started = time.perf_counter()
            run()
            row[i] = 1000 * (time.perf_counter() - started)
    return [float(ms) for ms in times.min(0)]


def step_of(times: Mapping[int, float]) -> int:
    """The widest of `STEPS` to whose multiples every width can be rounded up at no cost, or 1."""
    return next((step for step in STEPS if all(times[_up(w, step)] <= SLACK * ms for w, ms in times.items())), 1)


def _up(width: int, step: int) -> int:
    return -(-width // step) * step


def _net(width: int) -> Model:
    """A chain of convolutions of that width, between one to it and one from it."""
    channels = [ENDS, *[width] * (LAYERS + 1), ENDS]
    kernels = [np.full((after, before, 3, 3), 0.01, np.float32) for before, after in pairwise(channels)]
    names = [INPUT, *(f"h{i}" for i in range(len(kernels)))]
    nodes = [
        helper.make_node("Conv", [names[i], f"k{i}"], [names[i + 1]], pads=[1, 1, 1, 1]) for i in range(len(kernels))
    ]
    graph = helper.make_graph(
        nodes,
        "step",
        [helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, [1, ENDS, SIZE, SIZE])],
        [helper.make_tensor_value_info(names[-1], onnx.TensorProto.FLOAT, [1, ENDS, SIZE, SIZE])],
        [numpy_helper.from_array(kernel, f"k{i}") for i, kernel in enumerate(kernels)],
    )
    return Model.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
