"""Loading a model in another process, so that a crash of onnxruntime does not end this one.

onnxruntime refuses most graphs that it can't run with an exception. A few make it dereference a null pointer instead
(1.32: its layout optimizer, on some float16 graphs), which no `except` catches.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from onnx_compress.compiler.ir.model import Model

SECONDS = 600
_SCRIPT = """
import sys, onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
options.intra_op_num_threads = 1
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
"""


def survives(model: Model) -> bool:
    """Whether a process that loads `model` in onnxruntime exits with status 0."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model.save(path)
        command = [sys.executable, "-c", _SCRIPT, str(path)]
        try:
            done = subprocess.run(command, check=False, capture_output=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0
