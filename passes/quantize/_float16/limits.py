"""What float16 can hold, in pure NumPy.

Its largest value is 65504, its least normal one 2⁻¹⁴; below that precision fades, and below 2⁻²⁵ everything
becomes 0.
"""

from __future__ import annotations

import numpy as np

LARGEST = 65504.0
LEAST_NORMAL = 2.0**-14
MOST_ERROR = 0.01
"""Relative error (root mean square over a tensor) above which too much is lost among the subnormal numbers."""


def loss(values: np.ndarray) -> str:
    """Why an array should not become float16, or "" when it may: range and relative error."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return ""
    largest = float(np.abs(finite).max())
    if largest > LARGEST:
        return f"holds {largest:.3g}, beyond float16's 65504"
    rounded = finite.astype(np.float16).astype(np.float64)
    if np.any((rounded == 0) & (finite != 0)) and largest < LEAST_NORMAL:
        return f"holds nothing above {largest:.3g}, which vanishes in float16"
    error = float(np.sqrt(np.square(rounded - finite).sum() / max(np.square(finite).sum(), 1e-300)))
    return f"loses {error:.1%} of its values' size in float16" if error > MOST_ERROR else ""


def range_loss(low: float, high: float) -> str:
    """Why a computed value that lay between `low` and `high` should not become float16, or ""."""
    largest = max(abs(low), abs(high))
    if largest > LARGEST:
        return f"reaches {largest:.3g}, beyond float16's 65504"
    if 0 < largest < LEAST_NORMAL:
        return f"stays below {largest:.2g}, where float16 has little precision"
    return ""
