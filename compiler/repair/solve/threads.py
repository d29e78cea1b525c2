"""Threads that leave results as they are: one sum is one thread's, parts that hang on nothing else have their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")
R = TypeVar("R")


def unshared_sums() -> AbstractContextManager[Any]:
    """While it lasts BLAS has one thread: sums that several share differ in the last bit with their number."""
    return threadpool_limits(1, user_api="blas")


def each(work: Callable[[T], R], parts: Sequence[T], most: int | None = None) -> list[R]:
    """What `work` gives for each of the parts, in their order, `most` of them at a time.

    For what numpy computes without Python's lock, with `unshared_sums`: results do not depend on how many cores there
    are.
    """
    workers = min(len(parts), _cores() if most is None else min(most, _cores()))
    if workers < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, parts))


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
