"""Loading in another process."""

import subprocess

from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.runtime import crash_probe

GOOD = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N] x) => (float[N] y) { y = Relu (x) }"""


def test_a_sound_model_survives():
    assert crash_probe.survives(from_text(GOOD))


def test_a_model_that_does_not_load_does_not_survive():
    assert not crash_probe.survives(from_text(GOOD.replace("Relu", "NoSuchOperator")))


def test_a_crash_is_survived(monkeypatch):
    crashed = subprocess.CompletedProcess([], -11)
    monkeypatch.setattr(crash_probe.subprocess, "run", lambda *args, **options: crashed)
    assert not crash_probe.survives(from_text(GOOD))
