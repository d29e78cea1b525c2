from __future__ import annotations

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.passes.quantize._plain_bytes import plain_bytes
from tests.small_models import MODELS, small_model

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,64] x) => (float[N,64] y) <float[64,64] w> { y = MatMul (x, w) }"""


def test_it_is_about_the_size_of_the_file():
    for name in MODELS:
        model = small_model(name)
        assert abs(plain_bytes(model) - len(model.proto().SerializeToString())) < 0.05 * plain_bytes(model)


def test_a_smaller_type_is_smaller():
    full, half = from_text(TEXT), from_text(TEXT.replace("float[", "float16["))
    assert plain_bytes(full) - plain_bytes(half) == 2 * 64 * 64
