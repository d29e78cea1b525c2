"""Edits of a model: after each, producers, consumers, order and names agree."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.ir import edit, weights
from onnx_compress.compiler.ir.graph import Origin, Variable
from onnx_compress.compiler.ir.model import Model
from tests.behaviour import feeds_for, run
from tests.compiler.ir.graphs import BRANCHES, CHAIN, is_whole, load, node


class TestSetWeight:
    def test_a_weight_of_one_reader_is_replaced_in_place(self):
        model = load(CHAIN)
        edit.set_input(model, node(model, "second"), 1, model.graph.initializers[1])
        made = edit.set_weight(model, node(model, "first"), 1, np.zeros((4, 4), np.float32))
        assert made is model.graph.initializers[0]
        assert len(model.graph.initializers) == 2
        assert is_whole(model)

    def test_a_shared_weight_is_copied_for_one_reader(self):
        model = load(CHAIN)
        before = model.graph.initializers[0].values.copy()
        made = edit.set_weight(model, node(model, "second"), 1, np.zeros((4, 4), np.float32))
        assert made.name == "w.second"
        assert made.origin == Origin("w")
        assert np.array_equal(weights.input_value(node(model, "first"), 1), before)
        assert not weights.input_value(node(model, "second"), 1).any()
        assert is_whole(model)

    def test_a_tied_weight_changes_for_all(self):
        model = load(CHAIN)
        edit.set_weight(model, node(model, "second"), 1, np.zeros((4, 4), np.float32), tied=True)
        assert not weights.input_value(node(model, "first"), 1).any()
        assert [c.name for c in model.constants()] == ["w", "v"]

    def test_a_weight_that_a_node_reads_twice_is_copied_for_the_slot(self):
        model = load("g (float[4] x) => (float[4] y) <float[4] w> { y = Sum (x, w, w) }")
        edit.set_weight(model, model.graph.nodes[0], 2, np.zeros(4, np.float32))
        assert [tensor.name for tensor in model.graph.nodes[0].inputs] == ["x", "w", "w.Sum"]
        assert is_whole(model)

    def test_a_weight_that_is_an_output_is_copied(self):
        model = load("g (float[4] x) => (float[4] y, float[4] w) <float[4] w> { y = Add (x, w) }")
        before = model.graph.initializers[0].values.copy()
        edit.set_weight(model, model.graph.nodes[0], 1, np.zeros(4, np.float32))
        assert np.array_equal(model.graph.outputs[1].values, before)
        assert is_whole(model)

    @pytest.mark.parametrize("source", ["Identity (w)", "Constant <value = float[4,4] {}> ()"])
    def test_a_hidden_weight_becomes_an_initializer(self, source):
        text = f'g (float[N,4] x) => (float[N,4] y) <float[4,4] w> {{ k = {source} ["m"] y = MatMul (x, k) }}'
        model = load(text)
        made = edit.set_weight(model, node(model, "m"), 1, np.zeros((4, 4), np.float32))
        assert made.name == "k.m"
        assert made.origin.name == ("w" if "Identity" in source else "k")
        assert edit.sweep(model) >= 1
        assert is_whole(model)

    def test_a_tied_hidden_weight_stands_where_all_readers_see_it(self):
        model = load(
            """g (float[4] x, bool f) => (float[4] y) <float[4] w> { k = Identity (w)
            h = If (f) <then_branch = t () => (float[4] a) { ["in"] a = Add (x, k) },
                        else_branch = e () => (float[4] b) { b = Sub (x, k) }>
            y = Add (h, k) }"""
        )
        made = edit.set_weight(model, node(model, "in"), 1, np.zeros(4, np.float32), tied=True)
        assert made in model.graph.initializers
        edit.sweep(model)
        assert is_whole(model)

    def test_type_and_shape_may_change_and_declarations_follow(self):
        model = load("g (float[N,4] x) => (float[N,K] y) <float[4,8] w> { y = MatMul (x, w) }")
        proto = model.proto()
        proto.graph.value_info.append(onnx.helper.make_tensor_value_info("w", 1, [4, 8], doc_string="kept"))
        model = Model.from_proto(proto)
        edit.set_weight(model, model.graph.nodes[0], 1, np.zeros((4, 2), np.float32))
        declared = model.proto().graph.value_info[0]
        assert [dim.dim_value for dim in declared.type.tensor_type.shape.dim] == [4, 2]
        assert declared.doc_string == "kept"

    def test_a_computed_input_is_refused(self):
        model = load(CHAIN)
        with pytest.raises(ValueError, match="MatMul 'first' has no constant at input 0"):
            edit.set_weight(model, node(model, "first"), 0, np.zeros(4))


class TestOldFilesListWeightsAsInputs:
    HEAD = '<ir_version: 3, opset_import: ["" : 8]>'
    TEXT = """g (float[1,4] x, float[4,4] w, float[4,4] dead) => (float[1,4] y) <float[4,4] w, float[4,4] dead>
    { a = MatMul (x, w) y = MatMul (a, w) }"""

    def test_the_declaration_follows_the_weight(self):
        model = load(self.TEXT.replace("a = MatMul (x, w) y = MatMul (a, w)", "y = MatMul (x, w)"), self.HEAD)
        edit.set_weight(model, model.graph.nodes[0], 1, np.ones((4, 4), np.float64))
        assert model.proto().graph.input[1].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE

    def test_a_new_weight_is_listed_too(self):
        model = load(self.TEXT, self.HEAD)
        edit.set_weight(model, model.graph.nodes[0], 1, np.ones((4, 4), np.float32))
        assert [info.name for info in model.proto().graph.input] == ["x", "w", "dead", "w.MatMul"]
        assert [info.name for info in model.inputs()] == ["x"]
        onnx.checker.check_model(model.proto(), full_check=True)

    def test_a_dead_weight_is_removed_with_its_declaration(self):
        model = load(self.TEXT, self.HEAD)
        assert edit.sweep(model) == 1
        assert [info.name for info in model.proto().graph.input] == ["x", "w"]

    def test_a_default_that_a_caller_may_replace_stays(self):
        model = load(self.TEXT)
        assert edit.sweep(model) == 0
        assert [info.name for info in model.proto().graph.input] == ["x", "w", "dead"]


class TestBypass:
    def test_readers_read_what_the_node_read(self):
        model = load(CHAIN)
        assert edit.bypass(model, node(model, "copy"))
        assert node(model, "second").inputs[0].name == "a"
        assert is_whole(model)

    def test_readers_in_bodies_too(self):
        model = load(BRANCHES)
        assert edit.bypass(model, node(model, "copy"))
        assert node(model, "in").inputs[0].name == node(model, "out").inputs[0].name == "x"
        edit.sweep(model)
        assert is_whole(model)

    def test_an_output_keeps_its_name(self):
        model = load("g (float[4] x) => (float[4] y) { a = Relu (x) b = Neg (a) y = Identity (a) }")
        assert edit.bypass(model, model.graph.nodes[2])
        relu, neg = model.graph.nodes
        assert [relu.outputs[0].name, neg.inputs[0].name] == ["y", "y"]
        assert is_whole(model)

    def test_any_value_can_keep_its_name(self):
        model = load("g (float[4] x) => (float[4] y) { a = Relu (x) b = Neg (a) c = Identity (a) y = Add (b, c) }")
        assert edit.bypass(model, model.graph.nodes[2], keep_name=True)
        relu, neg, add = model.graph.nodes
        assert [relu.outputs[0].name, neg.inputs[0].name, add.inputs[1].name] == ["c"] * 3
        assert relu.outputs[0].origin.name == "c"
        assert is_whole(model)

    def test_the_name_of_an_input_stays(self):
        model = load("g (float[4] x) => (float[4] y) { c = Identity (x) y = Neg (c) }")
        assert not edit.bypass(model, model.graph.nodes[0], keep_name=True)
        assert len(model.graph.nodes) == 2
        assert model.version == 0

    @pytest.mark.parametrize(
        "text",
        [
            "g (float[4] x) => (float[4] y) { y = Identity (x) }",
            "g (float[4] x) => (float[4] y) <float[4] w> { y = Identity (w) }",
            "g (float[4] x) => (float[4] a, float[4] y) { a = Relu (x) y = Identity (a) }",
            "g (float[4] x) => (float[4] y, bool[4] m) { a = Relu (x) y, m = Dropout (a) }",
            "g (float[4] x) => (float[4] z, bool[4] n) { y, m = Dropout (x) z = Relu (y) n = Not (m) }",
        ],
    )
    def test_a_node_that_can_not_be_removed_stays_unchanged(self, text):
        model = load(text)
        before = model.proto()
        found = next(n for n in model.nodes() if n.op in ("Identity", "Dropout"))
        assert not edit.bypass(model, found)
        assert model.proto() == before
        assert model.version == 0

    def test_an_output_of_a_body_that_comes_from_outside_stays(self):
        model = load(BRANCHES.replace("e = MatMul (a, w)", "e = Identity (a)"))
        assert not edit.bypass(model, node(model, "out"))
        assert is_whole(model)


class TestEraseAndSweep:
    def test_a_node_in_use_is_refused(self):
        model = load(CHAIN)
        with pytest.raises(ValueError, match="Identity 'copy' can't be erased: 'b' is still used"):
            edit.erase(model, node(model, "copy"))
        with pytest.raises(ValueError, match="'y' is still used"):
            edit.erase(model, node(model, "last"))

    def test_a_removed_node_stops_the_reading_of_its_bodies(self):
        model = load(BRANCHES)
        choose = node(model, "choose")
        edit.replace_uses(model, choose.outputs[0], node(model, "copy").outputs[0])
        edit.erase(model, choose)
        assert node(model, "copy").outputs[0].outputs == [node(model, "last")]
        edit.sweep(model)
        assert [n.name for n in model.nodes()] == ["copy", "last"]
        assert is_whole(model)

    def test_dead_nodes_are_removed_in_bodies_too(self):
        model = load(BRANCHES)
        assert edit.sweep(model) == 3  # dead, idle, spare
        assert {n.name for n in model.nodes()} == {"copy", "choose", "in", "out", "last"}
        assert edit.sweep(model) == 0
        assert is_whole(model)

    def test_a_dead_chain_is_removed_whole(self):
        model = load("g (float[4] x) => (float[4] y) <float[4] w> { a = Add (x, w) b = Neg (a) y = Relu (x) }")
        assert edit.sweep(model) == 3
        assert not model.graph.initializers

    def test_a_value_used_only_in_a_body_stays(self):
        model = load(BRANCHES)
        edit.sweep(model)
        assert node(model, "copy").outputs[0].name == "a"

    def test_one_used_output_of_several_keeps_the_node(self):
        model = load("g (float[4] x) => (float[2] y) { a, b = Split <num_outputs = 2> (x) y = Relu (b) }")
        assert edit.sweep(model) == 0


class TestFreezeAndRetype:
    def test_one_output_of_several_becomes_constant(self):
        model = load("g (float[4] x) => (float[2] y) { a, b = Split <num_outputs = 2> (x) y = Add (a, b) }")
        split, add = model.graph.nodes
        edit.freeze(model, split.outputs[0], np.ones(2, np.float32))
        assert [type(tensor).__name__ for tensor in add.inputs] == ["Constant", "Variable"]
        assert is_whole(model)
        feeds = feeds_for(model)
        np.testing.assert_array_equal(run(model, feeds)[0], feeds["x"][2:] + 1)

    def test_a_node_whose_result_is_constant_is_swept(self):
        model = load(CHAIN)
        edit.freeze(model, node(model, "first").outputs[0], np.ones((1, 4), np.float32))
        edit.sweep(model)
        assert [found.name for found in model.nodes()] == ["copy", "second", "last"]
        assert [constant.name for constant in model.constants()] == ["w", "a"]
        assert is_whole(model)

    def test_a_node_that_becomes_another_operator_leaves_its_bodies(self):
        model = load(BRANCHES)
        choose = node(model, "choose")
        edit.retype(model, choose, "Relu", [node(model, "copy").outputs[0]])
        edit.sweep(model)
        assert [(found.name, found.op) for found in model.nodes()][1:2] == [("choose", "Relu")]
        assert is_whole(model)


class TestAddNode:
    @pytest.mark.parametrize(("where", "expected"), [("before", ["copy.r", "copy"]), ("after", ["copy", "copy.r"])])
    def test_it_stands_where_it_was_put(self, where, expected):
        model = load(CHAIN)
        copy = node(model, "copy")
        made = edit.add_node(model, "Relu", [copy.inputs[0]], base="copy", suffix="r", **{where: copy})
        assert [n.name for n in model.graph.nodes[1:3]] == expected
        assert made.graph is model.graph
        assert is_whole(model)

    def test_in_a_body(self):
        model = load(BRANCHES)
        inside = node(model, "in")
        made = edit.add_node(model, "Relu", [inside.inputs[0]], base="in", suffix="r", before=inside)
        edit.set_input(model, inside, 0, made.outputs[0])
        assert made.graph is inside.graph is not model.graph
        assert is_whole(model)

    def test_lists_and_arrays_become_attributes(self):
        model = load(CHAIN)
        first = node(model, "first")
        made = edit.add_node(model, "Constant", [], base="k", suffix="c", before=first,
                             attrs={"value": np.arange(3.0)})  # fmt: skip
        perm = edit.add_node(model, "Transpose", [first.inputs[0]], base="t", suffix="p", before=first,
                             attrs={"perm": [1, 0]})  # fmt: skip
        assert weights.constant_of(made.outputs[0]).values.tolist() == [0, 1, 2]
        assert perm.attrs["perm"] == (1, 0)
        assert is_whole(model)

    def test_without_a_place_it_is_refused(self):
        with pytest.raises(ValueError, match="needs `before` or `after`"):
            edit.add_node(load(CHAIN), "Relu", [], base="a", suffix="b")


class TestSmallEdits:
    def test_slots_between_are_left_out(self):
        model = load("g (float[4] x) => (float[4] y) <float a> { y = Clip (x) }")
        edit.set_input(model, model.graph.nodes[0], 2, model.graph.initializers[0])
        assert [tensor.name for tensor in model.graph.nodes[0].inputs] == ["x", "", "a"]
        assert is_whole(model)

    def test_attributes(self):
        model = load(CHAIN)
        first = node(model, "first")
        edit.set_attr(model, first, "k", [1, 2])
        assert first.attrs["k"] == (1, 2)
        edit.set_attr(model, first, "k", None)
        assert "k" not in first.attrs

    def test_a_body_set_as_attribute_is_found(self):
        model = load(BRANCHES)
        other = load(BRANCHES)
        body = node(other, "choose").attrs["else_branch"]
        edit.set_attr(model, node(model, "choose"), "then_branch", body)
        assert model.graphs() == list(model.graph.graphs())

    def test_shapes(self):
        model = load(CHAIN)
        out = node(model, "first").outputs[0]
        edit.set_shape(model, out, [np.int64(3), "M", None])
        out.dtype = onnx.TensorProto.FLOAT
        dims = model.proto().graph.value_info[0].type.tensor_type.shape.dim
        assert [(d.dim_value, d.dim_param) for d in dims] == [(3, ""), (0, "M"), (0, "")]

    def test_values_are_kept_in_native_byte_order(self):
        model = load(CHAIN)
        edit.replace_values(model, model.graph.initializers[0], np.arange(16, dtype=">f4").reshape(4, 4).T)
        proto = model.proto().graph.initializer[0]
        assert np.array_equal(onnx.numpy_helper.to_array(proto), np.arange(16, dtype=np.float32).reshape(4, 4).T)

    def test_a_scalar_keeps_its_rank(self):
        assert edit.add_constant(load(CHAIN), "s", "t", np.float32(2.0)).shape == ()

    def test_each_edit_counts(self):
        model = load(CHAIN)
        versions = []
        for change in (
            lambda: edit.set_attr(model, node(model, "first"), "k", 1),
            lambda: edit.add_constant(model, "a", "b", np.zeros(1)),
            lambda: edit.set_input(model, node(model, "first"), 0, model.graph.inputs[0]),
            lambda: edit.replace_values(model, model.graph.initializers[0], np.zeros((4, 4), np.float32)),
            lambda: edit.bypass(model, node(model, "copy")),
            lambda: edit.sweep(model),
        ):
            change()
            versions.append(model.version)
        assert versions == sorted(set(versions))


class TestDeclarations:
    def test_a_declared_type_follows_and_an_undeclared_one_stays_so(self):
        model = load(CHAIN.replace("float[4,4] v>", "float[4,4] v, float[N,4] b>"))
        declared, free = node(model, "copy").outputs[0], node(model, "first").outputs[0]
        edit.set_type(model, declared, onnx.TensorProto.DOUBLE)
        edit.set_type(model, free, onnx.TensorProto.DOUBLE)
        assert (declared.dtype, free.dtype) == (onnx.TensorProto.DOUBLE, None)

    def test_an_origin_is_set_and_counts_as_an_edit(self):
        model = load(CHAIN)
        before, result = model.version, node(model, "copy").outputs[0]
        edit.set_origin(model, result, Origin("elsewhere"))
        assert result.origin == Origin("elsewhere")
        assert model.version > before

    def test_what_stands_in_for_a_constant_has_its_name_and_origin(self):
        model = load(CHAIN)
        constant = next(model.constants())
        edit.set_origin(model, constant, Origin("w", {0: np.arange(4)}))
        result = edit.stand_in(constant)
        assert isinstance(result, Variable)
        assert (result.name, result.origin) == ("w", constant.origin)
