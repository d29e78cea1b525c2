from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_compress.compiler.storage import interpret, recognition
from onnx_compress.compiler.storage.cells import Cells
from onnx_compress.compiler.storage.forms.choice import written
from onnx_compress.compiler.storage.forms.vectors import VECTORS, cells_of
from onnx_compress.compiler.storage.structure import Structure
from onnx_compress.compiler.storage.weight import WeightValues
from tests.compiler.storage.weights import model_of, run_in_onnxruntime, same


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
