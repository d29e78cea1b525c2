"""Every form restores every weight bitwise, in NumPy and in onnxruntime, and states its true size."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_compress.compiler.storage import interpret, recognition
from onnx_compress.compiler.storage.cells import Cells
from onnx_compress.compiler.storage.forms import choice, stack
from onnx_compress.compiler.storage.forms.choice import FORMS, cheapest, dense_bytes, written
from onnx_compress.compiler.storage.forms.gaps import GAPS
from onnx_compress.compiler.storage.forms.packed_codebook import PACKED
from onnx_compress.compiler.storage.forms.scaled import SCALED
from onnx_compress.compiler.storage.forms.sparse import sparse_tensor
from onnx_compress.compiler.storage.forms.stack import Member
from onnx_compress.compiler.storage.forms.tile import TILE
from onnx_compress.compiler.storage.forms.vectors import VECTORS, cells_of
from onnx_compress.compiler.storage.structure import Structure, positive_zero
from onnx_compress.compiler.storage.weight import WeightValues
from tests.compiler.storage.weights import model_of, run_in_onnxruntime, same, weights

opsets = st.sampled_from((11, 13, 21))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@given(values=weights(), opset=opsets)
@settings(max_examples=60)
def test_a_form_restores_the_weight(form, values, opset):
    weight = WeightValues(values)
    least = form.least(weight, opset)
    if least is None:
        return
    program = written(form, weight, "w", "b", opset)
    expected = positive_zero(values)
    assert same(interpret.run(program)["w"], expected)
    assert same(run_in_onnxruntime(program, opset)[0], expected)
    assert least <= program.nbytes()


@pytest.mark.parametrize("form", [GAPS, PACKED], ids=lambda form: form.name)
@given(arrays=st.lists(weights(), min_size=2, max_size=4), opset=opsets)
@settings(max_examples=60)
def test_a_stack_restores_all_weights(form, arrays, opset):
    members = [Member(f"w{i}", f"b{i}", WeightValues(values)) for i, values in enumerate(arrays)]
    if opset < stack.LEAST_OPSET or not all(stack.can_join(member.weight, form.name) for member in members):
        return
    if form is GAPS and sum(np.count_nonzero(a) for a in arrays) > 0.75 * sum(a.size for a in arrays):
        return
    program = stack.stacked(members, form.name, opset)
    expected = [positive_zero(values) for values in arrays]
    assert all(map(same, interpret.run(program).values(), expected))
    assert all(map(same, run_in_onnxruntime(program, opset), expected))


@given(
    seed=st.integers(0, 2**32 - 1),
    entries=st.integers(1, 40),
    books=st.sampled_from((1, 2, 3, 6)),
    dim=st.sampled_from((1, 2, 4)),
    axis=st.sampled_from((0, 1)),
    opset=st.sampled_from((12, 13, 21)),
)
@settings(max_examples=80)
def test_vectors_restore_the_weight_and_are_recognized(seed, entries, books, dim, axis, opset):
    cells, rng = Cells(books, dim, axis), np.random.default_rng(seed)
    shape = (20, 6) if axis else (6, 5, 2, 2)
    vectors = rng.standard_normal((books, entries, dim)).astype(np.float32)
    places = rng.integers(0, entries, (books, 120 // books // dim))
    values = cells.join(np.take_along_axis(vectors, places[..., None], axis=1), shape)
    structure = Structure(cells=cells).true_for(values)
    assert structure is not None
    weight = WeightValues(values, structure)
    program = written(VECTORS, weight, "w", "b", opset)
    assert same(interpret.run(program)["w"], values)
    assert same(run_in_onnxruntime(program, opset)[0], values)
    assert VECTORS.least(weight, opset) <= program.nbytes()
    model = model_of(program, opset)
    found = recognition.find(model.graph, [tensor.name for tensor in model.graph.initializer], {"w"})
    assert [(one.form, one.outputs) for one in found] == [("vectors", ("w",))]
    assert cells_of(recognition.program(model.graph, found[0], {p.name: p.array for p in program.parts})) == cells


def test_vectors_need_their_structure_and_the_operator():
    values = np.tile(np.arange(8, dtype=np.float32), 40).reshape(16, 20)
    assert VECTORS.least(WeightValues(values), 13) is None
    assert VECTORS.least(WeightValues(values, Structure(cells=Cells(1, 4, 0))), 11) is None
    assert Structure(cells=Cells(1, 4, 0)).true_for(np.arange(4000, dtype=np.float32).reshape(40, 100)) is None
    assert Structure(cells=Cells(3, 4, 0)).true_for(values) is None


@given(
    codes=st.lists(st.integers(-7, 7), min_size=24, max_size=24),
    scale=st.lists(st.floats(2**-10, 1000, width=32), min_size=4, max_size=4),
    opset=opsets,
)
@settings(max_examples=60)
def test_scaled_weights_come_back(codes, scale, opset):
    scales = np.array(scale, np.float32).reshape(4, 1, 1)
    values = np.array(codes, np.float32).reshape(4, 2, 3) * scales
    structure = Structure(scale=scales).true_for(values)
    assert structure is not None
    program = written(SCALED, WeightValues(values, structure), "w", "b", opset)
    assert same(interpret.run(program)["w"], positive_zero(values))
    assert same(run_in_onnxruntime(program, opset)[0], positive_zero(values))


def test_a_scale_over_a_codebook():
    rng = np.random.default_rng(0)
    scales = rng.uniform(0.5, 2, (64, 1)).astype(np.float32)
    codebook = np.sort(rng.standard_normal(16)).astype(np.float32)
    values = rng.choice(codebook, (64, 64)) * scales
    structure = Structure(codebook=codebook, scale=scales).true_for(values)
    program = cheapest(WeightValues(values, structure), "w", "b", 17)
    assert program is not None
    assert program.form == "scaled"
    assert program.nbytes() < 64 * 64 / 2 + 64 * 4 + 16 * 4 + 400
    assert same(run_in_onnxruntime(program, 17)[0], values)
    assert cheapest(WeightValues(values), "w", "b", 17) is None


@pytest.mark.parametrize(
    ("density", "values", "form"),
    [(1, 2, "packed"), (1, 16, "packed"), (1, 200, "codebook"), (0.08, 16, "gaps"), (0.1, 0, "gaps"), (1, 0, None)],
)
def test_the_cheapest_form(density, values, form):
    rng = np.random.default_rng(0)
    shape = (64, 32, 3, 3)
    array = rng.choice(rng.standard_normal(values), shape) if values else rng.standard_normal(shape)
    weight = WeightValues((array * (rng.random(shape) < density)).astype(np.float32))
    program = cheapest(weight, "w", "b", 17)
    assert (None if program is None else program.form) == form
    if program is not None:
        others = [written(f, weight, "w", "b", 17).nbytes() for f in FORMS if f.least(weight, 17) is not None]
        assert program.nbytes() == min(others)


def test_the_stated_size_is_the_size_in_the_file():
    weight = WeightValues((np.arange(4096).reshape(64, 64) % 5).astype(np.float32))
    for form in FORMS:
        if form.least(weight, 17) is None:
            continue
        program = written(form, weight, "w", "b", 17)
        with_it, without = model_of(program, 17).graph, onnx.GraphProto(name="g")
        without.output.extend(with_it.output)
        assert program.nbytes() == with_it.ByteSize() - without.ByteSize()


def test_a_kernel_of_deep_compression():
    """128×64×3×3 weights with 8 % non-zeros of 16 values take a thirty-fifth of the dense bytes."""
    rng = np.random.default_rng(0)
    shape = (128, 64, 3, 3)
    values = rng.choice(rng.standard_normal(15), shape) * (rng.random(shape) < 0.08)
    program = cheapest(WeightValues(values.astype(np.float32)), "w", "b", 17)
    assert program is not None
    assert values.size * 4 / program.nbytes() > 34


def test_a_small_saving_is_ignored():
    small = WeightValues(np.zeros((9, 8), np.float32))
    assert dense_bytes(small, "w") < 2 * choice.LEAST_SAVING
    assert cheapest(small, "w", "b", 17) is None


def test_a_bitmask_needs_to_save_a_fifth_of_the_best_other_form():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((64, 64, 3, 3)).astype(np.float32)
    for density in (0.9, 0.5, 0.2):
        program = cheapest(WeightValues(np.where(rng.random(values.shape) < density, values, 0)), "w", "b", 17)
        assert program is None or program.form != "bitmask"


def test_float16_is_not_tiled():
    """onnxruntime has no float16 Tile."""
    assert TILE.least(WeightValues(np.ones((8, 100), np.float16)), 17) is None
    assert TILE.least(WeightValues(np.ones((8, 100), np.float32)), 17) == 400


@given(values=weights())
@settings(max_examples=40)
def test_sparse_tensors(values):
    sparse = sparse_tensor(WeightValues(values), "w")
    onnx.checker.check_sparse_tensor(sparse)
    dense = np.zeros(values.size, values.dtype)
    dense[onnx.numpy_helper.to_array(sparse.indices)] = onnx.numpy_helper.to_array(sparse.values)
    assert same(dense.reshape(values.shape), positive_zero(values))
