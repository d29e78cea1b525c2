from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from onnx_compress.compiler.errors import OutputError, UsageError
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.runtime.timing import latency_table
from onnx_compress.compiler.runtime.timing.latency_table import LatencyTable, default_path, keys_of
from tests.compiler.pipeline.passes_for_tests import classifier

DAY = 24 * 3600
FEEDS = {"x": np.zeros((1, 6), np.float32)}


def test_a_table_is_kept_in_its_file(tmp_path):
    path = tmp_path / "deep" / "table.json"
    LatencyTable.load(path).put({"a": 1.23456789, "b": 2.0})
    table = LatencyTable.load(path)
    assert table.get(["a", "b"]) == [1.23457, 2.0]
    assert table.get(["a", "c"]) is None


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        '{"version": 9, "times": {}}',
        '{"version": 1, "times": {"a": -1}}',
        '{"version": 2, "machines": [], "times": {"a": [1.0, 0, 0]}}',
        '{"version": 2, "machines": ["m"], "times": {"a": 1.0}}',
    ],
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(UsageError, match="not a latency table"):
        LatencyTable.load(path)


def test_a_damaged_table_of_the_user_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    default_path().parent.mkdir()
    default_path().write_text("damaged")
    assert LatencyTable.of_user().entries == {}


def test_a_named_table_must_be_writable(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't write the latency table"):
        LatencyTable(tmp_path / "file" / "table.json").put({"a": 1.0})


def test_keys_follow_structure_and_setting_but_not_the_values_of_weights():
    model, other = classifier(), classifier()
    edit.replace_values(other, next(other.constants()), np.ones((6, 4), np.float32))
    wider = classifier()
    edit.set_attr(wider, wider.graph.nodes[0], "extra", 1)
    key = keys_of({"m": model}, FEEDS, 1)["m"]
    assert keys_of({"m": other}, FEEDS, 1)["m"] == key
    assert keys_of({"m": wider}, FEEDS, 1)["m"] != key
    assert keys_of({"m": model}, FEEDS, 2)["m"] != key
    assert keys_of({"m": model}, {"x": np.zeros((2, 6), np.float32)}, 1)["m"] != key
    assert keys_of({"m": model, "n": wider}, FEEDS, 1)["m"] != key, "times of different runs don't compare"


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set manually."""
    now = [1_700_000_000]
    monkeypatch.setattr(latency_table, "time", SimpleNamespace(time=lambda: now[0]))
    return now


PROGRAM = """
import sys
from pathlib import Path
from onnx_compress.compiler.ir.files import lock
from onnx_compress.compiler.runtime.timing import latency_table
from onnx_compress.compiler.runtime.timing.latency_table import LatencyTable
if sys.argv[3] == "existence":
    lock.find_spec = lambda name: None
table = LatencyTable.load(Path(sys.argv[1]))
for i in range(30):
    table.put({f"{sys.argv[2]}{i}": 1.0 + i})
"""


@pytest.mark.parametrize("how", ["system", "existence"])
def test_processes_that_add_at_the_same_time_lose_nothing(tmp_path, how):
    path = tmp_path / "table.json"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    running = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(path), name, how], env=environment) for name in "abc"
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert set(LatencyTable.load(path).entries) == {f"{name}{i}" for name in "abc" for i in range(30)}


def test_a_time_that_another_process_added_first_is_used(tmp_path):
    path = tmp_path / "table.json"
    one, other = LatencyTable.load(path), LatencyTable.load(path)
    one.put({"k-1": 1.0, "k-2": 2.0})
    other.put({"k-1": 9.0, "k-2": 8.0})
    assert other.get(["k-1", "k-2"]) == [1.0, 2.0] == LatencyTable.load(path).get(["k-1", "k-2"])


def test_an_old_entry_of_the_users_own_table_is_measured_again(tmp_path, monkeypatch, clock):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    LatencyTable.of_user().put({"old-1": 1.0})
    clock[0] += 20 * DAY
    LatencyTable.of_user().put({"new-1": 2.0})
    clock[0] += 11 * DAY
    table = LatencyTable.of_user()
    assert (table.get(["old-1"]), table.under("old"), table.get(["new-1"])) == (None, {}, [2.0])
    table.put({"old-1": 3.0})
    assert table.get(["old-1"]) == [3.0]
    assert LatencyTable.load(default_path()).entries["old-1"].measured == clock[0]


def test_an_entry_expires_during_a_long_run(tmp_path, monkeypatch, clock):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    table = LatencyTable.of_user()
    table.put({"k-1": 1.0})
    clock[0] += 31 * DAY
    assert table.get(["k-1"]) is None


def test_a_named_table_never_expires(tmp_path, clock):
    path = tmp_path / "table.json"
    LatencyTable.load(path).put({"k-1": 1.0})
    clock[0] += 4000 * DAY
    assert LatencyTable.load(path).get(["k-1"]) == [1.0]


def test_a_table_of_the_first_version_is_valid_only_if_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    default_path().parent.mkdir()
    default_path().write_text('{"version": 1, "machine": "another", "times": {"k-1": 1.5}}')
    assert LatencyTable.of_user().get(["k-1"]) is None
    named = LatencyTable.load(default_path())
    assert (named.machine, named.get(["k-1"])) == ("another", [1.5])
    assert named.remembered == {"k-1": 0}
    LatencyTable.of_user().put({"j-1": 2.0})
    assert set(LatencyTable.load(default_path()).entries) == {"j-1"}


def test_the_users_own_table_may_be_shared_between_machines(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    LatencyTable.of_user().put({"here-1": 1.0})
    monkeypatch.setattr(latency_table, "machine", lambda: "another")
    table = LatencyTable.of_user()
    assert table.machine == "another"
    table.put({"there-1": 2.0})
    found = LatencyTable.load(default_path())
    assert {entry.machine == "another" for entry in found.entries.values()} == {True, False}
    assert found.machine == "another", "of several machines this one counts"


def test_the_table_of_another_machine_takes_no_new_times(tmp_path, monkeypatch):
    path = tmp_path / "table.json"
    LatencyTable.load(path).put({"k-1": 1.0})
    before = path.read_bytes()
    monkeypatch.setattr(latency_table, "machine", lambda: "another")
    table = LatencyTable.load(path)
    assert table.get(["k-1"]) == [1.0]
    with pytest.raises(UsageError, match="holds the times of another machine"):
        table.put({"k-2": 1.0})
    assert path.read_bytes() == before


def test_remembered_answers_are_noted_with_their_age(tmp_path, clock):
    path = tmp_path / "table.json"
    LatencyTable.load(path).put({"a-1": 1.0, "a-2": 2.0})
    clock[0] += DAY
    LatencyTable.load(path).put({"layers-b/0/x": 3.0})
    clock[0] += DAY
    table = LatencyTable.load(path)
    table.put({"c-1": 4.0})
    assert (table.get(["c-1"]), table.get(["d-1"]), table.under("e")) == ([4.0], None, {})
    assert table.remembered == {}
    for _ in range(2):
        assert table.get(["a-1", "a-2"]) == [1.0, 2.0]
        assert table.under("layers-b/") == {"0/x": 3.0}
    assert table.remembered == {"a-1": clock[0] - 2 * DAY, "layers-b/0/x": clock[0] - DAY}
