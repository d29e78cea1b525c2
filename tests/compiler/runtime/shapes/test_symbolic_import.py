"""Imports of the runtime: none that costs seconds at every start."""

from __future__ import annotations

import subprocess
import sys


def test_shape_inference_does_not_import_torch():
    code = "import sys, onnx_compress.compiler.runtime.shapes.inference; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
