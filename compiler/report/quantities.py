"""Numbers for people: three digits, decimal units, ratios."""

from __future__ import annotations

ABSENT = "–"
_UNITS = ("", "k", "M", "G", "T")


def size(count: int | None) -> str:
    """Bytes in decimal units: 1,090,000 is '1.09 MB'."""
    return ABSENT if count is None else _scaled(count, " ", "B")


def amount(count: int | None) -> str:
    """A count: exact below ten million, '40.8 M' above."""
    if count is None:
        return ABSENT
    return f"{count:,}" if count < 10_000_000 else _scaled(count, " ", "")


def short(count: int | None) -> str:
    """A count in three digits: '269 k'."""
    return ABSENT if count is None else _scaled(count, " ", "")


def milliseconds(value: float | None) -> str:
    """A duration given in milliseconds: '0.491 ms', '12.3 ms', '1.2 s'."""
    if value is None:
        return ABSENT
    return f"{_digits(value / 1000)} s" if value >= 1000 else f"{_digits(value)} ms"


def seconds(value: float) -> str:
    """A duration given in seconds: '0.3 s', '12 s', '3 min 20 s'."""
    if value >= 60:
        return f"{int(value) // 60} min {int(value) % 60} s"
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"


def ratio(before: float | None, after: float | None) -> str:
    """The share that is left: '0.29×'."""
    if before is None or after is None or before <= 0:
        return ABSENT
    return f"{after / before:.2f}×"


def metric(name: str, value: float | None) -> str:
    """A metric's value in points; shares of the samples as a percentage."""
    if value is None:
        return ABSENT
    return f"{value:.2f} %" if name.startswith(("top", "agreement")) else f"{value:.2f}"


def points(value: float, *, signed: bool = False) -> str:
    """A difference in points, with a typographic minus sign: '−0.28'."""
    text = f"{value:+.2f}" if signed else f"{value:.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def _scaled(value: float, gap: str, unit: str) -> str:
    step = 0
    while value >= 999.5 and step < len(_UNITS) - 1:
        value /= 1000
        step += 1
    shown = f"{value:.0f}" if step == 0 else _digits(value)
    return f"{shown}{gap}{_UNITS[step]}{unit}".rstrip()


def _digits(value: float) -> str:
    """Three significant digits without an exponent."""
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}" if value >= 0.9995 else f"{value:.3f}"
