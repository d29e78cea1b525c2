"""The effect of each operator on the axes of its tensors, by family of operators."""

from __future__ import annotations

from onnx_compress.compiler.analysis.channels.rules import (
    attention,
    control,
    elementwise,
    layout,
    norms,
    products,
    recurrent,
    selection,
)
from onnx_compress.compiler.analysis.channels.walk import Rule

RULES: dict[str, Rule] = {
    **elementwise.RULES,
    **products.RULES,
    **layout.RULES,
    **selection.RULES,
    **norms.RULES,
    **recurrent.RULES,
    **attention.RULES,
    **control.RULES,
}
