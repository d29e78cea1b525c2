"""The opsets that extended DequantizeLinear."""

from __future__ import annotations

SCALES_OPSET = 13
"""The first opset with one scale per channel."""
BLOCKS_OPSET = 21
"""The first opset with one scale per block."""
