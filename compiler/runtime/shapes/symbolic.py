"""onnxruntime's symbolic shape inference, changed to keep partial results and to end in reasonable time."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import sympy

_TORCH_IS_LOADED = "torch" in sys.modules
if not _TORCH_IS_LOADED:
    # onnxruntime.tools imports torch if it is installed: seconds at every start, for nothing used here.
    sys.modules["torch"] = None  # type: ignore[assignment]
try:
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference
finally:
    if not _TORCH_IS_LOADED:
        del sys.modules["torch"]

LONGEST = 8
"""Most operations in a dimension's expression; a longer one is replaced by a symbol with its text as name.

A chain of resizes nests roundings in roundings, and simplifying those takes minutes.
"""
_LARGEST_INT = 2**31 - 1


class _Inference(SymbolicShapeInference):
    def _update_computed_dims(self, new_sympy_shape: list[Any]) -> None:
        # A resize by 1.0 gives the batch 'floor(1.0*N)': with a rational factor it is N.
        for axis, dim in enumerate(new_sympy_shape):
            if isinstance(dim, sympy.Expr) and dim.has(sympy.Float):
                new_sympy_shape[axis] = sympy.nsimplify(dim, rational=True)
        super()._update_computed_dims(new_sympy_shape)  # type: ignore[no-untyped-call]
        for dim in new_sympy_shape:
            if isinstance(dim, sympy.Expr) and dim.count_ops() > LONGEST:
                self.symbolic_dims_[str(dim)] = sympy.Symbol(str(dim), integer=True, nonnegative=True)


def symbolic(proto: onnx.ModelProto) -> tuple[list[onnx.ValueInfoProto], onnx.GraphProto, str]:
    """The results: declarations of the main graph's values, a graph whose bodies declare theirs, and a note.

    The note says why inference stopped early, on a failure or at an unknown operator; its results up to there are
    kept.
    """
    # Not `infer_shapes`: if that stops early, it discards its results and leaves a file in the current folder.
    inference: Any = _Inference(_LARGEST_INT, True, False, 0)  # type: ignore[no-untyped-call]
    note = ""
    try:
        with _quiet():
            inference._preprocess(proto)
            complete = False
            while inference.run_:
                complete = inference._infer_impl()
        note = "" if complete else "unknown operator"
    except Exception as error:  # sympy and onnxruntime raise anything
        note = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return list(getattr(inference, "known_vi_", {}).values()), getattr(inference, "out_mp_", proto).graph, note


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's warnings off the terminal: the result says what matters."""
    logger = logging.getLogger("onnxruntime.tools.symbolic_shape_infer")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
