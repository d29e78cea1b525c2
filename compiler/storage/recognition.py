"""Find stored weights in the graph of a file.

A stored weight is an expression over constants. It is recognized only if its nodes have no names, its constants are
named as the forms name them, nothing else reads its inner tensors, and the expression, written as text with `#` for a
constant, matches the pattern of a form. Any other nodes are left as ordinary nodes, and still run correctly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from onnx_compress.compiler.storage.program import Program, ProgramConstant, ProgramNode

MOST_VISITS = 100
"""Nodes visited per expression, shared ones once per reader: a hostile graph could make the walk exponential."""
MOST_ROUNDS = 8
"""Rounds in which rejecting one stored weight may cause others to be rejected."""

_TABLE = "Mod(Transpose(Div(Range(#,#,#),#)),#)"
_DIVIDED = r"Mod\(Div\(#,#\),#\)"
_SYMBOLS = rf"(?:Cast\(#\)|Reshape\((?:Gather\(T,Cast\(#\)\)|{_DIVIDED}),#\))"
_LOOKUP = rf"(?:Gather\(#,(?:Cast\(#\)|{_DIVIDED})\)|Gather\(Gather\(#,T\),Cast\(#\)\))"
_VECTOR = rf"(?:#|{_LOOKUP}|Reshape\({_LOOKUP},#\))"
_ROWS = r"(?:{0}|Slice\(Reshape\({0},#\),#,#\))"
_ONES = rf"Mul\(CumSum\({_SYMBOLS},#\),{_SYMBOLS}\)"
_FORMS = {
    "codebook": r"Gather\(#,Cast\(#\)\)",
    "packed": rf"Reshape\({_ROWS.format(_LOOKUP)},#\)",
    "gaps": rf"Reshape\(ScatterElements\(ConstantOfShape\(#\),CumSum\({_SYMBOLS},#\),{_VECTOR}\),#\)",
    "bitmask": r"Reshape\({},#\)".format(_ROWS.format(rf"Gather\({_VECTOR},{_ONES}\)")),
    "tile": r"Tile\(#,#\)",
}
_PLACES = rf"Reshape\((?:{_SYMBOLS}|Slice\({_SYMBOLS},#,#\)),#\)"
_CELLS = rf"Reshape\(GatherND\(#,(?:Cast\(#\)|Cast\({_PLACES}\)|{_PLACES})\),#\)"
_FORMS["vectors"] = rf"(?:{_CELLS}|Transpose\({_CELLS}\))"
_FORMS["scaled"] = r"Mul\((?:Cast\(#\)|{}|{}|{}),#\)".format(*(_FORMS[f] for f in ("codebook", "packed", "gaps")))
_SCATTERED = rf"ScatterElements\(ConstantOfShape\(#\),CumSum\({_SYMBOLS},#\),{_SYMBOLS}\)"
_STACKED = r"Gather\(#,(?:Split\({0},#\)|Reshape\(Split\({0},#\),#\))\)"
_FORMS["stacked gaps"] = _STACKED.format(_SCATTERED)
_FORMS["stacked packed"] = _STACKED.format(rf"(?:{_SYMBOLS}|Slice\({_SYMBOLS},#,#\))")
_PATTERNS = {form: re.compile(pattern) for form, pattern in _FORMS.items()}

_SHARED = r"(?:.+\.)?[isp]-?\d[-\dx]*[dw]?_*"
_NAMES = re.compile(rf".+\.[a-z]_*|{_SHARED}")
"""Names of the constants of stored weights: the weight's name and a letter, or a name that states the content."""

_OPS = {
    "Cast": ("to",), "Gather": (), "GatherND": ("batch_dims",), "Reshape": (), "Range": (), "Div": (), "Mod": (),
    "Transpose": (), "Mul": (), "CumSum": (), "ConstantOfShape": ("value",), "ScatterElements": (), "Tile": (),
    "Split": (), "Slice": (),
}  # fmt: skip
"""The operators of stored weights, and the attributes each may have."""


@dataclass(frozen=True)
class FoundProgram:
    """A program in a graph: the names of its outputs and constants, and the indices of its nodes."""

    form: str
    outputs: tuple[str, ...]
    parts: tuple[str, ...]
    nodes: tuple[int, ...]
    split: int | None = None
    """For a weight in a stack: the index of the Split node, and which of its outputs is this weight's piece."""
    slot: int = 0


def find(graph: onnx.GraphProto, constants: Iterable[str], read_elsewhere: set[str]) -> list[FoundProgram]:
    """The stored weights of `graph`, in the order of their constants.

    `constants` are the initializers that are not graph inputs, in order; `read_elsewhere` are the names that
    subgraphs, graph outputs or value declarations use.
    """
    return _Search(graph, constants, read_elsewhere).found()


def program(graph: onnx.GraphProto, found: FoundProgram, arrays: Mapping[str, np.ndarray]) -> Program:
    """The found program with its constants' `arrays`."""
    steps = tuple(_step(graph.node[i]) for i in found.nodes)
    parts = tuple(ProgramConstant(name, arrays[name], bool(re.fullmatch(_SHARED, name))) for name in found.parts)
    return Program(found.form, parts, steps, found.outputs)


def _step(node: onnx.NodeProto) -> ProgramNode:
    attrs: list[tuple[str, object]] = []
    for attribute in node.attribute:
        if attribute.name == "value":
            kind = onnx.helper.tensor_dtype_to_np_dtype(attribute.t.data_type)
            attrs.append(("value", np.dtype(kind)))
        else:
            attrs.append((attribute.name, int(attribute.i)))
    return ProgramNode(node.op_type, tuple(node.input), tuple(node.output), tuple(attrs))


def is_candidate(node: onnx.NodeProto) -> bool:
    """Whether a node may belong to a stored weight."""
    allowed = _OPS.get(node.op_type)
    if allowed is None or node.domain or node.name or node.doc_string or node.metadata_props or not node.output:
        return False
    return all(a.name in allowed and not a.ref_attr_name and _is_plain(a) for a in node.attribute)


def _is_plain(attribute: onnx.AttributeProto) -> bool:
    """Whether the attribute is an integer, or a zero tensor of shape [1] without a name or other fields."""
    if attribute.name != "value":
        return bool(attribute.type == onnx.AttributeProto.INT)
    if attribute.type != onnx.AttributeProto.TENSOR:
        return False
    try:
        kind = onnx.helper.tensor_dtype_to_np_dtype(attribute.t.data_type)
        zero = onnx.numpy_helper.from_array(np.zeros(1, kind))
    except (KeyError, ValueError, TypeError):
        return False
    return bool(attribute.t == zero)


class _Search:
    """One pass over a graph."""

    def __init__(self, graph: onnx.GraphProto, constants: Iterable[str], read_elsewhere: set[str]) -> None:
        self.graph = graph
        self.order = {name: i for i, name in enumerate(constants)}
        self.elsewhere = read_elsewhere
        self.producer: dict[str, int] = {}
        self.readers: dict[str, list[int]] = {}
        self.candidates: list[int] = []
        self.visits = 0
        known = set(self.order)
        for i, node in enumerate(graph.node):
            for name in node.input:
                self.readers.setdefault(name, []).append(i)
            if is_candidate(node) and node.input and known.issuperset(node.input):
                self.candidates.append(i)
                self.producer.update((name, i) for name in node.output)
                known.update(node.output)

    def found(self) -> list[FoundProgram]:
        """Every stored weight. One that shares a node or constant with anything but stored weights is rejected."""
        chosen = set(self.candidates)
        results = [name for i in self.candidates for name in self.graph.node[i].output if self._is_result(name, chosen)]
        found = list(self._joined([one for one in map(self._expression, results) if one is not None]))
        for _ in range(MOST_ROUNDS):
            taken = {i for one in found for i in one.nodes}
            kept = [one for one in found if self._is_closed(one, taken)]
            if len(kept) == len(found):
                return sorted(found, key=lambda one: min(self.order[name] for name in one.parts))
            found = kept
        return []

    def _joined(self, found: list[FoundProgram]) -> Iterator[FoundProgram]:
        """Merge the weights of one stack into one program; drop stacks of which a piece is read by something else."""
        stacks: dict[int, list[FoundProgram]] = {}
        for one in found:
            if one.split is None:
                yield one
            else:
                stacks.setdefault(one.split, []).append(one)
        for split, members in stacks.items():
            members.sort(key=lambda one: one.slot)
            if [one.slot for one in members] == list(range(len(self.graph.node[split].output))):
                outputs = tuple(name for one in members for name in one.outputs)
                parts = sorted({name for one in members for name in one.parts}, key=self.order.__getitem__)
                nodes = sorted({i for one in members for i in one.nodes})
                yield FoundProgram(members[0].form, outputs, tuple(parts), tuple(nodes))

    def _is_result(self, name: str, chosen: set[int]) -> bool:
        return any(i not in chosen for i in self.readers.get(name, ())) or name in self.elsewhere

    def _expression(self, result: str) -> FoundProgram | None:
        parts: dict[str, None] = {}
        nodes: dict[int, int] = {}
        self.visits = 0
        text = self._text(result, parts, nodes)
        if text is None:
            return None
        text = text.replace(_TABLE, "T")
        form = next((form for form, pattern in _PATTERNS.items() if pattern.fullmatch(text)), None)
        if form is None:
            return None
        split = next((i for i in nodes if self.graph.node[i].op_type == "Split"), None)
        ordered = tuple(sorted(parts, key=self.order.__getitem__))
        form = form.removeprefix("stacked ")
        return FoundProgram(form, (result,), ordered, tuple(sorted(nodes)), split, 0 if split is None else nodes[split])

    def _text(self, name: str, parts: dict[str, None], nodes: dict[int, int]) -> str | None:
        if name in self.order and _NAMES.fullmatch(name):
            parts[name] = None
            return "#"
        i = self.producer.get(name)
        self.visits += 1
        if (
            i is None
            or self.visits > MOST_VISITS
            or (len(self.graph.node[i].output) != 1 and self.graph.node[i].op_type != "Split")
        ):
            return None
        nodes[i] = list(self.graph.node[i].output).index(name)
        inputs = [self._text(n, parts, nodes) for n in self.graph.node[i].input]
        return None if None in inputs else f"{self.graph.node[i].op_type}({','.join(i or '' for i in inputs)})"

    def _is_closed(self, one: FoundProgram, taken: set[int]) -> bool:
        inner = [n for i in one.nodes for n in self.graph.node[i].output if n not in one.outputs]
        names: Sequence[str] = (*one.parts, *inner)
        return all(
            name not in self.elsewhere and all(i in taken for i in self.readers.get(name, ())) for name in names
        ) and not any(i in taken for name in one.outputs for i in self.readers.get(name, ()))
