"""Random small graphs through random pipelines: they stay valid, run, keep their signature, agree where promised."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text, to_text
from onnx_compress.compiler.pipeline import registry, spec
from onnx_compress.compiler.pipeline.base import Effect, Pass
from tests.behaviour import EXACT, distance, feeds_for, run, serialized, signature
from tests.contexts import context

WIDTHS = (4, 8, 16)
EDGE = 8
EXACT_IN_HALF = 5e-3
"""What an EXACT pass may move where arithmetic has 11 bits: a few roundings of 5e-4."""
PASSES = [name for name in registry.names() if registry.find(name).effect is not Effect.RETRAIN]

bounded = settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass
class Program:
    """A graph as it is written: lines of text, its weights, and the values that later lines can read, with channels."""

    lines: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    values: list[tuple[str, int]] = field(default_factory=lambda: [("x", 4)])

    def weight(self, shape: str) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(f"float[{shape}] {name}")
        return name

    def value(self, expression: str, channels: int) -> None:
        name = f"h{len(self.lines)}"
        self.lines.append(f'["n{len(self.lines)}"] {name} = {expression}')
        self.values.append((name, channels))

    def text(self) -> str:
        name, channels = self.values[-1]
        head = self.weight(f"5,{channels}")
        tail = (
            f'pooled = GlobalAveragePool ({name}) flat = Flatten (pooled) ["head"] y = Gemm <transB = 1> (flat, {head})'
        )
        shape = f"[N,4,{EDGE},{EDGE}]"
        return "\n".join(
            [
                '<ir_version: 10, opset_import: ["" : 21]>',
                f"g (float{shape} x) => (float[N,5] y) <{', '.join(self.weights)}> {{",
                *self.lines,
                tail,
                "}",
            ]
        )


@st.composite
def programs(draw: st.DrawFn) -> str:
    program = Program()
    for _ in range(draw(st.integers(1, 8))):
        draw(st.sampled_from(STEPS))(program, draw)
    return program.text()


def convolution(program: Program, draw: st.DrawFn) -> None:
    name, channels = draw(st.sampled_from(program.values))
    width, kernel = draw(st.sampled_from(WIDTHS)), draw(st.sampled_from([1, 3]))
    group = draw(st.sampled_from([1, 2, channels])) if width % channels == 0 else draw(st.sampled_from([1, 2]))
    w = program.weight(f"{width},{channels // group},{kernel},{kernel}")
    bias = f", {program.weight(str(width))}" if draw(st.booleans()) else ""
    program.value(f"Conv <group = {group}, pads = [{', '.join([str(kernel // 2)] * 4)}]> ({name}, {w}{bias})", width)


def normalization(program: Program, draw: st.DrawFn) -> None:
    name, channels = draw(st.sampled_from(program.values))
    parts = [program.weight(str(channels)) for _ in range(4)]
    program.value(f"BatchNormalization ({name}, {', '.join(parts)})", channels)


def activation(program: Program, draw: st.DrawFn) -> None:
    name, channels = draw(st.sampled_from(program.values))
    program.value(
        f"{draw(st.sampled_from(['Relu', 'Sigmoid', 'Tanh', 'HardSwish', 'Identity', 'Abs']))} ({name})", channels
    )


def addition(program: Program, draw: st.DrawFn) -> None:
    name, channels = draw(st.sampled_from(program.values))
    other = draw(st.sampled_from([value for value in program.values if value[1] == channels]))[0]
    program.value(f"{draw(st.sampled_from(['Add', 'Mul', 'Sub']))} ({name}, {other})", channels)


def scaling(program: Program, draw: st.DrawFn) -> None:
    name, channels = draw(st.sampled_from(program.values))
    program.value(f"{draw(st.sampled_from(['Add', 'Mul']))} ({name}, {program.weight(f'{channels},1,1')})", channels)


def concatenation(program: Program, draw: st.DrawFn) -> None:
    chosen = draw(st.lists(st.sampled_from(program.values), min_size=1, max_size=3))
    total = sum(channels for _, channels in chosen)
    if total <= 32:
        program.value(f"Concat <axis = 1> ({', '.join(name for name, _ in chosen)})", total)


def halves(program: Program, draw: st.DrawFn) -> None:
    name, channels = draw(st.sampled_from(program.values))
    if channels % 2 == 0:
        place = len(program.lines)
        program.lines.append(f"s{place}a, s{place}b = Split <axis = 1, num_outputs = 2> ({name})")
        program.values += [(f"s{place}a", channels // 2), (f"s{place}b", channels // 2)]


def gate(program: Program, draw: st.DrawFn) -> None:
    name, channels = draw(st.sampled_from(program.values))
    program.value(f"GlobalAveragePool ({name})", channels)
    pooled = program.values.pop()[0]
    w = program.weight(f"{channels},{channels},1,1")
    program.value(f"Conv ({pooled}, {w})", channels)
    scores = program.values.pop()[0]
    program.value(f"Mul ({name}, {scores})", channels)


def reused_weight(program: Program, draw: st.DrawFn) -> None:
    name, channels = draw(st.sampled_from(program.values))
    fitting = [w.split()[1] for w in program.weights if w.startswith(f"float[{channels},{channels},1,1]")]
    w = fitting[0] if fitting else program.weight(f"{channels},{channels},1,1")
    program.value(f"Conv ({name}, {w})", channels)


STEPS = (
    convolution,
    convolution,
    normalization,
    activation,
    activation,
    addition,
    scaling,
    concatenation,
    halves,
    gate,
    reused_weight,
)


@st.composite
def passes(draw: st.DrawFn) -> Pass:
    kind = registry.find(draw(st.sampled_from(PASSES)))
    chosen: dict[str, object] = {}
    for info in kind.options():
        if info.name == kind.strength:
            chosen[info.name] = draw(st.sampled_from(kind.strengths))
        elif info.choices:
            chosen[info.name] = draw(st.sampled_from(info.choices))
        elif info.type is bool:
            chosen[info.name] = draw(st.booleans())
    return kind(**chosen)


@bounded
@given(programs(), st.lists(passes(), min_size=1, max_size=3))
def test_a_pipeline_leaves_a_sound_model(text, pipeline):
    original = from_text(text)
    onnx.checker.check_model(original.proto(), full_check=True)
    feeds = feeds_for(original)
    model, before = original.clone(), run(original, feeds)
    for item in pipeline:
        given_bytes = serialized(model)
        is_half = any(constant.stored.dtype == np.float16 for constant in model.constants())
        changed = item.run(model, context(item, model, original))
        assert (changed == 0) == (serialized(model) == given_bytes), spec.render_one(item)
        after = check(model, original, feeds, before)
        if item.effect is Effect.EXACT:
            assert distance(before, after) <= (EXACT_IN_HALF if is_half else EXACT), spec.render_one(item)
        before = after


def check(model: Model, original: Model, feeds: dict, before: list) -> list:
    proto = model.proto()
    onnx.checker.check_model(proto, full_check=not proto.graph.sparse_initializer)
    assert signature(model) == signature(original)
    after = run(model, feeds)
    assert [a.shape for a in after] == [b.shape for b in before]
    assert math.isfinite(distance(before, after))
    return after


@bounded
@given(programs())
def test_text_files_and_clones_are_the_same_model(text):
    model = from_text(text)
    assert serialized(Model.from_proto(model.proto())) == serialized(model) == serialized(model.clone())
    assert to_text(from_text(to_text(model))) == to_text(model)


@bounded
@given(programs(), st.randoms(use_true_random=False))
def test_the_order_of_nodes_in_a_file_does_not_matter(text, random):
    model = from_text(text)
    proto = model.proto()
    nodes = list(proto.graph.node)
    random.shuffle(nodes)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    sorted_model = Model.from_proto(proto)
    onnx.checker.check_model(sorted_model.proto(), full_check=True)
    assert distance(run(model, feeds_for(model)), run(sorted_model, feeds_for(model))) == 0


@bounded
@given(programs(), st.data())
def test_edits_keep_a_model_whole(text, data):
    model = from_text(text)
    feeds = feeds_for(model)
    expected = run(model, feeds)
    edit.sweep(model)
    for node in list(model.nodes()):
        if data.draw(st.booleans()) and node.graph is not None:
            made = edit.add_node(model, "Identity", [node.inputs[0]], base=node.name or "n", suffix="copy", before=node)
            edit.set_input(model, node, 0, made.outputs[0])
    for node in list(model.nodes()):
        if node.is_op("Identity") and data.draw(st.booleans()):
            edit.bypass(model, node)
    onnx.checker.check_model(model.proto(), full_check=True)
    assert distance(expected, run(model, feeds)) <= EXACT


def test_there_are_passes():
    assert len(PASSES) >= 3


@pytest.mark.parametrize("step", dict.fromkeys(STEPS), ids=lambda step: step.__name__)
def test_every_step_of_the_generator_makes_a_valid_graph(step):
    @settings(max_examples=3)
    @given(st.data())
    def once(data):
        program = Program()
        step(program, data.draw)
        step(program, data.draw)
        onnx.checker.check_model(from_text(program.text()).proto(), full_check=True)

    once()
