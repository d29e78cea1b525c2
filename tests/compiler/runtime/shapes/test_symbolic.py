from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import onnx

from onnx_compress.compiler.runtime.shapes.symbolic import symbolic

HEAD = '<ir_version: 10, opset_import: ["" : 17, "odd" : 1]> '


def shapes(text: str) -> tuple[dict[str, list[object]], str]:
    """The inferred shape of each value, and the note."""
    infos, _, note = symbolic(onnx.parser.parse_model(HEAD + text))
    found = {}
    for info in infos:
        dims = info.type.tensor_type.shape.dim
        found[info.name] = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dims]
    return found, note


def test_dimensions_are_expressions_of_free_ones():
    found, note = shapes(
        "g (float[N,T,4] x) => (float[A,B] y) <int64[2] s = {0, -1}> { h = Concat <axis=1> (x, x) y = Reshape (h, s) }"
    )
    assert found["h"] == ["N", "2*T", 4]
    assert found["y"] == ["N", "8*T"]
    assert note == ""


def test_a_resize_by_one_keeps_the_batch():
    found, _ = shapes(
        "g (float[N,3,8,8] x) => (float[A,B,C,D] y) <float[4] s = {1.0, 1.0, 2.0, 2.0}> { y = Resize (x, , s) }"
    )
    assert found["y"] == ["N", 3, 16, 16]


def test_what_is_known_before_an_unknown_operator_stays():
    found, note = shapes("g (float[N,4] x) => (float[A,B] y) { h = Concat <axis=1> (x, x) y = odd.Odd (h) }")
    assert found["h"] == ["N", 8]
    assert note != ""


def test_a_failure_is_a_note_and_leaves_no_file(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG)
    _, note = shapes("g (float[2,4] x, float[3,5] z) => (float[A,B] y) { y = MatMul (x, z) }")
    assert note != ""
    assert "\n" not in note
    assert not list(Path().iterdir())
    assert not [record for record in caplog.records if "symbolic" in record.name]


def test_torch_is_not_imported():
    code = (
        "import sys; import onnx_compress.compiler.runtime.shapes.symbolic;"
        "print('torch' in sys.modules, any(name.startswith('torch.') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
