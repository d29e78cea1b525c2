"""What a run is told beside its passes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_DROP = 1.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a pipeline is run.

    `max_drop` are points of the metric that the whole pipeline may cost; None is the default of 1.0, under
    which a strength that the user gave is kept and reported whatever it costs. `exclude` are globs of layer
    names that no pass may touch, `raw` leaves out what is run unasked. `opset` is the newest version of
    ONNX's operators that the result may use, `portable` forbids operators of other domains that the input
    does not use. `latency_table` is a file of measured latencies by which choices are made, the user's own in the
    cache folder when None.
    """

    max_drop: float | None = None
    metric: str | None = None
    seed: int = 0
    threads: int = 1
    exclude: tuple[str, ...] = ()
    raw: bool = False
    opset: int | None = None
    portable: bool = False
    latency_table: Path | None = None

    @property
    def budget(self) -> float:
        """The points that may be lost."""
        return DEFAULT_DROP if self.max_drop is None else self.max_drop
