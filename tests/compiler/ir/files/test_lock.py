"""Locks between processes; mutual exclusion is tested with the latency table."""

from __future__ import annotations

import os
import threading
import time

import pytest

from onnx_compress.compiler.ir.files import lock
from onnx_compress.compiler.ir.files.lock import locked


@pytest.fixture(params=["system", "existence"])
def path(request, tmp_path, monkeypatch):
    if request.param == "existence":
        monkeypatch.setattr(lock, "find_spec", lambda name: None)
    return tmp_path / "file"


def test_the_second_holder_waits(path):
    order = []

    def second():
        with locked(path):
            order.append("second")

    with locked(path):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.2)
        order.append("first")
    waiting.join(5)
    assert order == ["first", "second"]


def test_a_lock_is_released_by_an_error(path):
    with pytest.raises(ZeroDivisionError), locked(path):
        raise ZeroDivisionError
    with locked(path):
        pass


def test_a_lock_that_a_killed_process_left_is_taken_over(path):
    left = path.with_name(".file.lock")
    left.touch()
    os.utime(left, (0, 0))
    with locked(path):
        pass
