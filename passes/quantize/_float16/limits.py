"""What float16 can represent, in pure NumPy.

The largest value is 65504, the least normal one 2⁻¹⁴; below that precision decreases, and below 2⁻²⁵ values become 0.
"""

from __future__ import annotations

import numpy as np

LARGEST = 65504.0
LEAST_NORMAL = 2.0**-14
MOST_ERROR = 0.01
"""Largest relative error (root mean square over a tensor) that is accepted, which only subnormal numbers exceed."""


def loss(values: np.ndarray) -> str:
    """Why an array should not become float16, or "" if it may: range and relative error."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return ""
    largest = float(np.abs(finite).max())
    if largest > LARGEST:
        return f"holds {largest:.3g}, beyond float16's 65504"
    rounded = finite.astype(np.float16).astype(np.float64)
    if np.any((rounded == 0) & (finite != 0)) and largest < LEAST_NORMAL:
        return f"holds nothing above {largest:.3g}, which becomes 0 in float16"
    error = float(np.sqrt(np.square(rounded - finite).sum() / max(np.square(finite).sum(), 1e-300)))
    return f"has a relative error of {error:.1%} in float16" if error > MOST_ERROR else ""


def range_loss(low: float, high: float) -> str:
    """Why a computed value between `low` and `high` should not become float16, or ""."""
    largest = max(abs(low), abs(high))
    if largest > LARGEST:
        return f"reaches {largest:.3g}, beyond float16's 65504"
    if 0 < largest < LEAST_NORMAL:
        return f"stays below {largest:.2g}, where float16 has little precision"
    return ""
