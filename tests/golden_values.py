"""The values of weights in goldens, as lines that another machine reproduces within a tolerance.

A weight with values of its own has a line under the graph::

    # w: 72 of 144 are 0, size 0.7071, marks 0.312 -1.204
    # x.scale: 0.01234

The size is the root mean square, the marks are the scalar products with two fixed random directions, in units in which
a random weight has marks of about 1. So a channel in another's place moves them by about 1, and a rounding error of a
solver by 1e-5. They are compared within TOLERANCE, the number of zeros exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from onnx_compress.compiler.ir.graph import Constant
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import SHOWN

TOLERANCE = 0.005
"""Share of the size, and difference of the marks, within which two weights count as the same."""
_MANY = r"(?P<zeros>\d+ of \d+) are 0, size (?P<size>\S+), marks (?P<marks>.+)"
_LINE = re.compile(rf"# (?P<name>.+): (?:{_MANY}|(?P<value>-?[\d.]+(?:e[-+]\d+)?))")


def value_lines(before: Model, after: Model) -> Iterator[str]:
    """A line for each weight of `after` that is new or changed, unless the graph's text shows its values."""
    old = {constant.name: constant for constant in before.constants()}
    for constant in after.constants():
        was = old.get(constant.name)
        is_new = was is None or not _is_like(was, constant) or has_other_values(was, constant)
        if is_new and not _is_printed(constant):
            yield f"# {constant.name}: {digest(constant.values)}"


def has_other_values(old: Constant, new: Constant) -> bool:
    """Whether type and shape are the same and the values are not."""
    return _is_like(old, new) and old.values.tobytes() != new.values.tobytes()


def _is_like(old: Constant, new: Constant) -> bool:
    return (old.stored.shape, old.stored.dtype) == (new.stored.shape, new.stored.dtype)


def _is_printed(constant: Constant) -> bool:
    """Whether the text of the graph shows the values."""
    return constant.values.dtype in (np.int32, np.int64, np.bool_) and constant.values.size <= SHOWN


def digest(values: np.ndarray) -> str:
    """A line's summary of values of any shape."""
    flat = values.ravel().astype(np.float64)
    if flat.size == 1:
        return f"{flat[0]:.4g}"
    size = float(np.sqrt(np.mean(flat**2)))
    marks = np.random.default_rng(0).standard_normal((2, flat.size)) @ flat / (size * np.sqrt(flat.size) or 1.0)
    zeros = flat.size - np.count_nonzero(flat)
    return f"{zeros} of {flat.size} are 0, size {size:.4g}, marks {marks[0]:.3f} {marks[1]:.3f}"


def settled(expected: str, got: str) -> str:
    """The text `got`, in which lines of values stand as in `expected` where the two agree within TOLERANCE."""
    known = {match["name"]: match for match in map(_LINE.fullmatch, expected.splitlines()) if match}
    return "\n".join(_settled_line(known, line) for line in got.splitlines())


def _settled_line(known: dict[str, re.Match[str]], line: str) -> str:
    now = _LINE.fullmatch(line)
    if now is None or now["name"] not in known:
        return line
    then = known[now["name"]]
    return then[0] if _agree(then, now) else line


def _agree(then: re.Match[str], now: re.Match[str]) -> bool:
    if then["zeros"] != now["zeros"]:
        return False
    size = "value" if then["zeros"] is None else "size"
    if abs(float(then[size]) - float(now[size])) > TOLERANCE * abs(float(then[size])):
        return False
    marks = zip((then["marks"] or "").split(), (now["marks"] or "").split(), strict=True)
    return all(abs(float(a) - float(b)) <= TOLERANCE for a, b in marks)
