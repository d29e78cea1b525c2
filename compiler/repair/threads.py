"""Work on parts that hang on nothing else, by one thread per core."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def each(work: Callable[[T], R], parts: Sequence[T], most: int | None = None) -> list[R]:
    """What `work` gives for each of the parts, in their order, `most` of them at a time.

    For what numpy computes without Python's lock. Since no sum is shared between threads, the results do not depend
    on how many there are; BLAS must be limited to one of its own, which would share sums.
    """
    workers = min(len(parts), _cores() if most is None else min(most, _cores()))
    if workers < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, parts))


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
