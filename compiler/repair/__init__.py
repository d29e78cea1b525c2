"""Repair in closed form: what a lossy pass broke, least squares against the activations before mends."""

from onnx_compress.compiler.repair.original_activations import Reference
from onnx_compress.compiler.repair.refitting import Fitted, RefitReport, Sharing, refit
from onnx_compress.compiler.repair.samples import sample_count

__all__ = ["Fitted", "Reference", "RefitReport", "Sharing", "refit", "sample_count"]
