"""Repair in closed form: what a lossy pass broke, least squares against the activations before mends."""

from onnx_compress.compiler.repair.amount import amount
from onnx_compress.compiler.repair.reference import Reference
from onnx_compress.compiler.repair.sequential import Fitted, Report, Sharing, refit

__all__ = ["Fitted", "Reference", "Report", "Sharing", "amount", "refit"]
