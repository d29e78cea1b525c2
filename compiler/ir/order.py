"""Topological order of nodes: a node comes after everything it reads."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import onnx

from onnx_compress.compiler.errors import ModelError


def sorted_nodes(proto: onnx.GraphProto, known: set[str]) -> Sequence[onnx.NodeProto]:
    """The nodes in topological order; the file's order if it is already topological.

    `known` are names defined outside (inputs, initializers, the graphs around a body). Raises ModelError
    for a cycle. Undefined names are left for the importer to report.
    """
    if _is_sorted(proto, known):
        return proto.node
    producer = {name: i for i, node in enumerate(proto.node) for name in node.output if name}
    waits = [{producer[name] for name in reads(node) if name in producer and name not in known} for node in proto.node]
    return [proto.node[i] for i in _kahn(proto, waits)]


def _kahn(proto: onnx.GraphProto, waits: list[set[int]]) -> list[int]:
    readers: list[list[int]] = [[] for _ in waits]
    for i, needed in enumerate(waits):
        for j in needed:
            readers[j].append(i)
    missing = [len(needed) for needed in waits]
    ready = [i for i, count in enumerate(missing) if count == 0]
    done: list[int] = []
    while ready:
        i = heapq.heappop(ready)
        done.append(i)
        for j in readers[i]:
            missing[j] -= 1
            if missing[j] == 0:
                heapq.heappush(ready, j)
    if len(done) < len(waits):
        stuck = proto.node[next(i for i, count in enumerate(missing) if count > 0)]
        raise ModelError(f"the graph has a cycle through node {stuck.op_type} '{stuck.name}'")
    return done


def _is_sorted(proto: onnx.GraphProto, known: set[str]) -> bool:
    later = {name for node in proto.node for name in node.output if name} - known
    for node in proto.node:
        if any(name in later for name in reads(node)):
            return False
        later.difference_update(node.output)
    return True


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node reads: its inputs, and the outer values that its bodies read."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield from _free_names(attribute.g)
        for body in attribute.graphs:
            yield from _free_names(body)


def _free_names(graph: onnx.GraphProto) -> Iterator[str]:
    own = {info.name for info in graph.input} | {t.name for t in graph.initializer}
    own |= {sparse.values.name for sparse in graph.sparse_initializer}
    own |= {name for node in graph.node for name in node.output}
    for node in graph.node:
        yield from (name for name in reads(node) if name not in own)
    yield from (info.name for info in graph.output if info.name not in own)
