"""A lock between processes that change the same file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

STALE = 60.0
"""Seconds after which a lock file is taken for one that a killed process left."""
WAIT = 0.02


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, waiting for whoever holds it; the lock is a file next to it. Raises OSError."""
    lock = path.with_name(f".{path.name}.lock")
    hold = _by_system if find_spec("fcntl") is not None else _by_existence
    with hold(lock):
        yield


@contextmanager
def _by_system(lock: Path) -> Iterator[None]:
    """The system ends the lock with the process, however that ends. The file stays: removing it would race."""
    import fcntl

    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _by_existence(lock: Path) -> Iterator[None]:
    """Where there is no `fcntl`: the file exists as long as the lock is held."""
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            with suppress(FileNotFoundError):  # it was released between the two calls
                if time.time() - lock.stat().st_mtime > STALE:
                    lock.unlink()
            time.sleep(WAIT)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            lock.unlink()
