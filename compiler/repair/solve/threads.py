"""Threads that do not change results: a sum is never split between threads, only independent parts are."""

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
    """A context in which BLAS has one thread: split sums differ in the last bit with the number of threads."""
    return threadpool_limits(1, user_api="blas")


def each(work: Callable[[T], R], parts: Sequence[T], most: int | None = None) -> list[R]:
    """The results of `work` for each of the parts, in order, at most `most` at a time.

    For work that numpy does without Python's lock, within `unshared_sums`: results do not depend on the number of
    cores.
    """
    workers = min(len(parts), _cores() if most is None else min(most, _cores()))
    if workers < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, parts))


def _cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
