"""A model whose weights are stored in a form."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.store import store_as
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.storage.forms.choice import FORMS, written
from onnx_compress.compiler.storage.weight import WeightValues

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,96] x) => (float[N,96] y) <float[96,96] a, float[96,96] b> { h = MatMul (x, a) y = MatMul (h, b) }"""


def stored(form: str = "packed") -> Model:
    """A model with both weights stored in the given form."""
    model = from_text(TEXT)
    rng = np.random.default_rng(0)
    kind = next(one for one in FORMS if one.name == form)
    for constant in list(model.constants()):
        values = rng.choice(rng.standard_normal(9), (96, 96)) * (rng.random((96, 96)) < 0.4)
        edit.replace_values(model, constant, values.astype(np.float32))
        program = written(kind, WeightValues(constant.values), constant.name, constant.name * 2, 17)
        store_as(model, {constant.name: constant}, program)
    return model
