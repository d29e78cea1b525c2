"""Time and memory of pruning grow linearly with the graph."""

import time
import tracemalloc

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx_compress.compiler.analysis.channels import ChannelGroups
from onnx_compress.compiler.ir.model import Model
from onnx_compress.passes.simplify.simplify import Simplify
from tests.contexts import context
from tests.pruning import pruned

WIDTH, HEADS = 32, 4
NODES = 30
"""Nodes of a block."""


def blocks(count: int) -> Model:
    """Attention blocks with computed shapes, as exporters write them: 30 nodes each, one residual stream."""
    rng = np.random.default_rng(0)
    integers = {"zero": [0], "one": [1], "minus": [-1], "heads": [HEADS], "inner": [WIDTH // HEADS], "width": [WIDTH]}
    constants = [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in integers.items()]
    nodes = []
    for i in range(count):
        for name, shape in {"q": (WIDTH, WIDTH), "k": (WIDTH, WIDTH), "v": (WIDTH, WIDTH), "o": (WIDTH, WIDTH)}.items():
            constants.append(numpy_helper.from_array(rng.standard_normal(shape, np.float32), f"{name}{i}"))
        constants.append(numpy_helper.from_array(np.ones(WIDTH, np.float32), f"scale{i}"))
        nodes += _block(i)
    nodes.append(helper.make_node("ReduceMean", [f"x{count}", "one"], ["y"], keepdims=0))
    inputs = [helper.make_tensor_value_info("x0", 1, ["N", "T", WIDTH])]
    outputs = [helper.make_tensor_value_info("y", 1, ["N", WIDTH])]
    graph = helper.make_graph(nodes, "blocks", inputs, outputs, constants)
    return Model.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))


def _block(i: int) -> list[onnx.NodeProto]:
    nodes = []

    def add(op: str, inputs: list[str], out: str, **attrs: object) -> str:
        nodes.append(helper.make_node(op, inputs, [f"{out}_{i}"], f"{op}_{out}_{i}", **attrs))
        return f"{out}_{i}"

    normal = add("LayerNormalization", [f"x{i}", f"scale{i}"], "normal")
    heads = {}
    for letter, perm in {"q": [0, 2, 1, 3], "k": [0, 2, 3, 1], "v": [0, 2, 1, 3]}.items():
        wide = add("MatMul", [normal, f"{letter}{i}"], f"wide_{letter}")
        shape = add("Shape", [wide], f"shape_{letter}")
        batch, time_ = (add("Gather", [shape, index], f"{index}_{letter}") for index in ("zero", "one"))
        target = add("Concat", [batch, time_, "heads", "inner"], f"target_{letter}", axis=0)
        apart = add("Reshape", [wide, target], f"apart_{letter}")
        heads[letter] = add("Transpose", [apart], f"heads_{letter}", perm=perm)
    scores = add("Softmax", [add("MatMul", [heads["q"], heads["k"]], "scores")], "soft")
    mixed = add("Transpose", [add("MatMul", [scores, heads["v"]], "mixed")], "back", perm=[0, 2, 1, 3])
    flat = add("Reshape", [mixed, add("Concat", ["zero", "zero", "width"], "flat_target", axis=0)], "flat")
    nodes.append(helper.make_node("Add", [f"x{i}", add("MatMul", [flat, f"o{i}"], "out")], [f"x{i + 1}"], f"Add_{i}"))
    return nodes


def simplified(model: Model) -> Model:
    twin = model.clone()
    Simplify().run(twin, context(Simplify(), twin, model))
    return twin


def seconds(work, model: Model) -> float:
    """The minimum of three runs, in processor time, which excludes other processes."""
    found = []
    for _ in range(3):
        started = time.process_time()
        work(model)
        found.append(time.process_time() - started)
    return min(found)


@pytest.mark.slow
@pytest.mark.parametrize("work", [ChannelGroups.of, pruned, simplified])
def test_four_times_the_graph_takes_four_times_the_time(work):
    """Quadratic time would be sixteen times; the limit lies in between because short runs scatter."""
    small, large = blocks(24), blocks(96)
    assert seconds(work, large) < 6 * seconds(work, small)


@pytest.mark.slow
def test_four_thousand_nodes_in_seconds_and_little_memory():
    model = blocks(4000 // NODES)
    assert 3900 < len(list(model.nodes())) < 4100
    started = time.process_time()
    groups = ChannelGroups.of(model)
    assert len(groups.prunable) == 4000 // NODES
    pruned(model)
    assert time.process_time() - started < 20
    tracemalloc.start()
    pruned(model)
    simplified(model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6
