"""Independent parts, worked on by several threads."""

import threading

import numpy as np
import pytest

from onnx_compress.compiler.repair.solve import threads


@pytest.fixture
def three(monkeypatch):
    monkeypatch.setattr(threads, "_cores", lambda: 3)


def test_results_come_in_the_order_of_the_parts(three):
    assert threads.each(lambda part: part**2, range(50)) == [part**2 for part in range(50)]
    assert threads.each(lambda part: part, []) == []


def test_parts_run_concurrently_up_to_the_limit(three):
    meeting = threading.Barrier(3, timeout=10)
    assert len(threads.each(lambda _: meeting.wait(), range(3))) == 3
    names = threads.each(lambda _: threading.current_thread().name, range(9), most=1)
    assert set(names) == {threading.current_thread().name}


def test_an_error_of_one_part_is_raised(three):
    with pytest.raises(np.linalg.LinAlgError):
        threads.each(np.linalg.inv, [np.eye(2), np.zeros((2, 2)), np.eye(2)])
