"""Small models as files."""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.ir import edit
from tests.small_models import small_model


def saved(name: str, path: str = "model.onnx", factor: float = 1.0) -> str:
    """Save a small model, its largest weight scaled; returns the path."""
    model = small_model(name)
    if factor != 1:
        weight = max(model.constants(), key=lambda c: c.nbytes)
        edit.replace_values(model, weight, weight.values * np.float32(factor))
    model.save(path)
    return path
