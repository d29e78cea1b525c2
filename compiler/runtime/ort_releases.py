"""The oldest release of onnxruntime that loads a model, by its opset and IR version."""

from __future__ import annotations

from onnx_compress.compiler.ir.model import Model

_BY_OPSET = {
    11: (1, 0),
    12: (1, 3),
    13: (1, 6),
    14: (1, 8),
    15: (1, 9),
    16: (1, 11),
    17: (1, 12),
    18: (1, 14),
    19: (1, 15),
    20: (1, 17),
    21: (1, 18),
    22: (1, 21),
    23: (1, 23),
}
_BY_IR = {6: (1, 0), 7: (1, 6), 8: (1, 11), 9: (1, 15), 10: (1, 18), 11: (1, 23)}


def oldest_onnxruntime(model: Model) -> str | None:
    """The first release that implements the model's opset and IR version; None if unknown.

    Only ONNX's own operators are considered.
    """
    needs = [
        _first(_BY_OPSET, model.opset or 11),
        _first(_BY_IR, model.header.ir_version or 6),
    ]
    if any(need is None for need in needs):
        return None
    major, minor = max(need for need in needs if need is not None)
    return f"{major}.{minor}"


def _first(table: dict[int, tuple[int, int]], version: int) -> tuple[int, int] | None:
    """The release for `version`, or for the next later version in the table."""
    return next((release for known, release in sorted(table.items()) if known >= version), None)
