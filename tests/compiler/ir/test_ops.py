"""The facts of operators against ONNX's and onnxruntime's schemas, and against what onnxruntime computes."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state

from onnx_compress.compiler.ir import ops
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.ops import Family, Movement

X = np.arange(1, 2 * 4 * 4 * 4 + 1, dtype=np.float32).reshape(2, 4, 4, 4) / 8

EXAMPLES = {
    "BitShift": '<direction = "LEFT">',
    "Cast": "<to = 11>",
    "Compress": "<axis = 1> (x, k) <bool[4] k = {1, 0, 1, 1}>",
    "CenterCropPad": "<axes = [1]> (x, k) <int64[1] k = {6}>",
    "DepthToSpace": "<blocksize = 2>",
    "Expand": "(x, k) <int64[5] k = {3, 1, 1, 1, 1}>",
    "Gather": "<axis = 1> (x, k) <int64[3] k = {2, 0, 2}>",
    "GatherElements": "<axis = 0> (x, k) <int64[1,1,1,2] k = {1, 0}>",
    "GatherND": "(x, k) <int64[2,2] k = {1, 0, 1, 1}>",
    "LpPool": "<kernel_shape = [2, 2]>",
    "AveragePool": "<kernel_shape = [2, 2]>",
    "MaxPool": "<kernel_shape = [2, 2]>",
    "Mod": "<fmod = 1>",
    "Pad": "(x, k) <int64[8] k = {0, 0, 1, 0, 0, 0, 0, 2}>",
    "Resize": "(x, , k) <float[4] k = {1, 1, 2, 2}>",
    "ReverseSequence": "<batch_axis = 0, time_axis = 1> (x, k) <int64[2] k = {4, 2}>",
    "Slice": "(x, k, e, a, s) <int64[1] k = {3}, int64[1] e = {-9}, int64[1] a = {2}, int64[1] s = {-2}>",
    "SpaceToDepth": "<blocksize = 2>",
    "Split": "<axis = 1> (x, k) <int64[1] k = {4}>",
    "TopK": "(x, k) <int64[1] k = {2}>",
    "Tile": "(x, k) <int64[4] k = {1, 2, 1, 1}>",
    "Transpose": "<perm = [0, 2, 3, 1]>",
    "Reshape": "(x, k) <int64[2] k = {8, -1}>",
    "Squeeze": "(x)",
    "Unsqueeze": "(x, k) <int64[1] k = {1}>",
    "Upsample": "(x, k) <float[4] k = {1, 1, 2, 2}>",
}
"""Attributes, inputs and constants of operators that need more than x."""
OPSETS = {"Upsample": 9}
OUTPUTS = {"TopK": "y, i"}
DTYPES = {
    **dict.fromkeys(("And", "Not", "Or", "Xor"), np.bool_),
    **dict.fromkeys(("BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "BitShift"), np.uint8),
}
TYPES = {np.bool_: "bool", np.uint8: "uint8", np.float32: "float"}


def own(test):
    """The operators of ONNX's own domain with a fact."""
    return [name for name in ops.names(test) if "." not in name]


def computed(name, *arrays):
    """The first output of an operator for these inputs, computed by onnxruntime as written."""
    attributes, inputs, constants = re.fullmatch(r"(<.*?>)?\s*(\(.*\))?\s*(<.*>)?", EXAMPLES.get(name, "")).groups()
    given = [f"x{i}" if i else "x" for i in range(len(arrays))]
    declared = ", ".join(f"{TYPES[a.dtype.type]}[{','.join(map(str, a.shape))}] {n}" for a, n in zip(arrays, given))
    opset = OPSETS.get(name, max(21, _first_opset(name)))
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : {opset}]> g ({declared}) => (float y) {constants or ""}'
        f"{{ {OUTPUTS.get(name, 'y')} = {name} {attributes or ''} {inputs or '(' + ', '.join(given) + ')'} }}"
    )
    model.graph.output[0].ClearField("type")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(given, arrays)))[0]


@cache
def _first_opset(name):
    return min(s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.name == name and not s.domain)


def vectors(name, count):
    """Arrays [24] of the type that an operator takes, without two that are alike."""
    rng = np.random.default_rng(0)
    dtype = DTYPES.get(name, np.float32)
    if dtype is np.float32:
        return [rng.uniform(0.1, 0.9, 24).astype(np.float32) for _ in range(count)]
    return [rng.integers(0, 2 if dtype is np.bool_ else 6, 24).astype(dtype) for _ in range(count)]


class TestNames:
    def test_each_operator_has_one_entry(self):
        listed = [name for group, _ in ops.ENTRIES for name in group.split()]
        assert len(listed) == len(set(listed))

    def test_a_node_is_found_by_its_operator_and_domain(self):
        assert ops.of(Node("Conv", "a", domain="ai.onnx")) is ops.of(Node("Conv", "b")) is ops.named("Conv")
        assert ops.of(Node("Conv", "a", domain="my.own")) is ops.UNKNOWN
        assert ops.of(Node("QGemm", "a")) is ops.UNKNOWN
        assert ops.of(Node("QGemm", "a", domain="com.microsoft")) is ops.named("QGemm", "com.microsoft")
        assert ops.key(Node("QGemm", "a", domain="com.microsoft")) == "com.microsoft.QGemm"

    def test_nothing_is_known_of_an_operator_without_an_entry(self):
        assert not ops.UNKNOWN.is_elementwise
        assert not ops.UNKNOWN.keeps_values
        assert not ops.UNKNOWN.is_quantized
        assert not ops.UNKNOWN.contracts


class TestElementWise:
    @pytest.mark.parametrize("name", own(lambda op: op.family is Family.UNARY))
    def test_each_element_is_computed_for_itself(self, name):
        (x,) = vectors(name, 1)
        others = [x] if name == "CastLike" else []
        np.testing.assert_array_equal(computed(name, x, *others)[::-1], computed(name, x[::-1].copy(), *others))

    @pytest.mark.parametrize("name", own(lambda op: op.family is Family.BROADCAST))
    def test_elements_above_each_other_are_computed_together(self, name):
        inputs = vectors(name, 2)
        if name == "Where":
            inputs.insert(0, inputs[0] > 0.5)
        result = computed(name, *inputs)
        np.testing.assert_array_equal(result[::-1], computed(name, *(x[::-1].copy() for x in inputs)))
        lying = computed(name, *(x.reshape(2, 12) for x in inputs[:-1]), inputs[-1][:12])
        np.testing.assert_array_equal(lying[0], result[:12])

    def test_whatever_computes_each_element_for_itself_is_listed(self):
        (x,) = vectors("Relu", 1)
        known = {*ops.names(lambda op: op.is_elementwise or op.movement is not None)}
        for schema in onnx.defs.get_all_schemas():
            gives_tensor = any(kind == "tensor(float)" for out in schema.outputs[:1] for kind in out.types)
            is_vague = any("optional" in kind for given in schema.inputs for kind in given.types)
            if schema.domain or schema.name in known or schema.min_input > 1 or not gives_tensor or is_vague:
                continue
            try:
                result = computed(schema.name, x), computed(schema.name, x[::-1].copy()), computed(schema.name, x[:5])
            except Exception:  # it takes no vector of floats, or more than that
                continue
            is_like_x = getattr(result[0], "shape", ()) == x.shape and np.ptp(result[0]) > 0
            is_for_itself = is_like_x and np.array_equal(result[0][::-1], result[1])
            assert not (is_for_itself and np.array_equal(result[0][:5], result[2])), schema.name

    @pytest.mark.parametrize("name", own(lambda op: op.is_idempotent))
    def test_what_is_idempotent_changes_nothing_twice(self, name):
        x = np.linspace(-3, 3, 24, dtype=np.float32)
        once = computed(name, x)
        np.testing.assert_array_equal(computed(name, once), once)

    @pytest.mark.parametrize("name", own(lambda op: op.is_activation))
    def test_the_slope_of_an_activation_is_about_one_or_less(self, name):
        x = np.linspace(-5, 5, 1000, dtype=np.float32)
        slopes = [np.full(1000, 0.25, np.float32)] if name == "PRelu" else []
        steep = np.abs(np.diff(computed(name, x, *slopes)) / np.diff(x)) > 2
        assert steep.sum() <= 1  # ThresholdedRelu has a jump

    @pytest.mark.parametrize("name", own(lambda op: op.adds))
    def test_what_adds_gives_the_sum(self, name):
        a, b = vectors(name, 2)
        np.testing.assert_array_equal(computed(name, a, b), a + b)


class TestMovement:
    @pytest.mark.parametrize("name", own(lambda op: op.movement is not None and not op.converts))
    def test_elements_stand_where_it_says(self, name):
        result, movement = computed(name, X), FACTS[name].movement
        flat = result.reshape(-1)
        if movement is Movement.STAYS:
            np.testing.assert_array_equal(result, X)
        elif movement is Movement.RESHAPES:
            np.testing.assert_array_equal(flat, X.reshape(-1))
        elif movement is Movement.PERMUTES:
            np.testing.assert_array_equal(np.sort(flat), X.reshape(-1))
            assert not np.array_equal(flat, X.reshape(-1))
        elif movement is Movement.SELECTS:
            assert np.isin(flat, X).all()
            assert len(np.unique(flat)) == len(flat)
        elif movement is Movement.REPEATS:
            assert np.isin(flat, X).all()
        elif movement is Movement.FILLS:
            assert set(flat[~np.isin(flat, X)]) == {0}
        else:
            assert movement is Movement.INTERPOLATES
            assert X.min() <= flat.min() <= flat.max() <= X.max()

    @pytest.mark.parametrize("name", own(lambda op: op.keeps_constants))
    def test_equal_elements_give_their_value(self, name):
        assert set(computed(name, np.full_like(X, 3)).reshape(-1)) == {3}

    @pytest.mark.parametrize("name", own(lambda op: op.keeps_zeros))
    def test_zeros_give_zeros(self, name):
        assert not computed(name, np.zeros_like(X)).any()

    @pytest.mark.parametrize("name", own(lambda op: op.family in (Family.POOL, Family.REDUCTION)))
    def test_of_the_others_no_more_is_true(self, name):
        facts = FACTS[name]
        assert facts.keeps_constants == bool((computed(name, np.full_like(X, 3)) == 3).all())
        assert facts.keeps_zeros == (not computed(name, np.zeros_like(X)).any())


@cache
def schemas():
    found = {f"{s.domain}.{s.name}": s for s in onnxruntime_pybind11_state.get_all_operator_schema()}
    return {**found, **{s.name: s for s in onnx.defs.get_all_schemas()}, **_old_schemas()}


def _old_schemas():
    """Those that onnx has no more, or that are onnxruntime's in ONNX's own domain."""
    return {
        s.name: s
        for s in onnxruntime_pybind11_state.get_all_operator_schema()
        if not s.domain and s.name in ("Upsample", "SimplifiedLayerNormalization")
    }


def inputs_of(name):
    """The names of an operator's inputs."""
    return [given.name for given in schemas()[name].inputs]


NAMED = {
    "weights": r"[WRwABab]|data|weight|fc\d_experts_weights",
    "biases": r"[BC]|bias|fc\d_experts_bias",
    "scales": r".*(scales?|zero_points?)",
    "positive": "input_var|var",
    "sizes": r"\w*shape|starts|ends|split|[kK]|repeats|pads|sizes?|depth|dft_length|frame_(step|length)"
    "|start|limit|delta|input",
    "indices": r"ind\w+|sequence_lens|g_idx|mask_index",
}


FACTS = {name: operator for group, operator in ops.ENTRIES for name in group.split()}


class TestSlots:
    @pytest.mark.parametrize("kind", NAMED)
    def test_they_are_what_the_schema_calls_so(self, kind):
        found = [(name, slot) for name, facts in FACTS.items() for slot in getattr(facts, kind)]
        for name, slot in found:
            inputs = inputs_of(name)
            is_one_of_many = name == "com.microsoft.QLinearConcat" and slot >= len(inputs)
            assert is_one_of_many or re.fullmatch(NAMED[kind], inputs[slot]), (name, slot, inputs)

    def test_every_scale_and_zero_point_is_listed(self):
        for name, facts in FACTS.items():
            found = {i for i, given in enumerate(inputs_of(name)) if re.fullmatch(NAMED["scales"], given)}
            assert not facts.is_quantized or found <= set(facts.scales), name

    def test_sizes_and_indices_are_integers(self):
        for name in own(lambda op: bool(op.sizes or op.indices)):
            inputs = schemas()[name].inputs
            for slot in (*FACTS[name].sizes, *FACTS[name].indices):
                assert {"tensor(int32)", "tensor(int64)"} & set(inputs[slot].types), (name, slot)

    def test_no_quantized_operator_of_onnx_is_missing(self):
        for schema in onnx.defs.get_all_schemas():
            reads_zero_point = any("zero_point" in given.name for given in schema.inputs)
            assert schema.domain or not reads_zero_point or FACTS[schema.name].is_quantized, schema.name

    def test_gates_are_what_a_weight_stacks(self):
        assert {name: facts.gates for name, facts in FACTS.items() if facts.gates} == {
            "LSTM": 4,
            "GRU": 3,
            "RNN": 1,
            "com.microsoft.DynamicQuantizeLSTM": 4,
        }
