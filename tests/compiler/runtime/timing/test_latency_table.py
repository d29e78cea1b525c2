from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.errors import OutputError, UsageError
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.runtime.timing.latency_table import LatencyTable, default_path, keys_of
from tests.compiler.pipeline.passes_for_tests import classifier

FEEDS = {"x": np.zeros((1, 6), np.float32)}


def test_a_table_is_kept_in_its_file(tmp_path):
    path = tmp_path / "deep" / "table.json"
    LatencyTable.load(path).put({"a": 1.23456789, "b": 2.0})
    table = LatencyTable.load(path)
    assert table.get(["a", "b"]) == [1.23457, 2.0]
    assert table.get(["a", "c"]) is None


@pytest.mark.parametrize(
    "content", ["no json", "[]", '{"version": 9, "times": {}}', '{"version": 1, "times": {"a": -1}}']
)
def test_what_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(UsageError, match="no table of latencies"):
        LatencyTable.load(path)


def test_the_users_own_damaged_table_starts_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    default_path().parent.mkdir()
    default_path().write_text("damaged")
    assert LatencyTable.of_user().times == {}


def test_a_table_that_was_asked_for_must_be_writable(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be written there"):
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
