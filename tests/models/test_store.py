"""Exports run once per process, and once per folder while their sources stay the same."""

import pytest

from models import store


@pytest.fixture(autouse=True)
def _own_store(monkeypatch):
    monkeypatch.setattr(store, "_folders", [])
    monkeypatch.setattr(store, "_memory", {})


def unexpected() -> bytes:
    raise AssertionError("made again")


def test_made_once_per_process():
    assert store.fetch("a", lambda: b"1") == b"1"
    assert store.fetch("a", unexpected) == b"1"


def test_another_process_reads_the_folder(tmp_path):
    store.keep_in(tmp_path)
    store.fetch("a", lambda: b"1")
    store._memory.clear()
    assert store.fetch("a", unexpected) == b"1"
    assert [path.name for path in (tmp_path / store.sources()).iterdir()] == ["a.onnx"]


def test_without_a_folder_another_process_exports_again(tmp_path):
    store.keep_in(tmp_path)
    store.keep_in(None)
    store.fetch("a", lambda: b"1")
    store._memory.clear()
    assert store.fetch("a", lambda: b"2") == b"2"
    assert list(tmp_path.iterdir()) == []


def test_changed_sources_export_again_and_delete_the_old_files(tmp_path, monkeypatch):
    store.keep_in(tmp_path)
    monkeypatch.setattr(store, "sources", lambda: "old")
    store.fetch("a", lambda: b"1")
    store._memory.clear()
    monkeypatch.setattr(store, "sources", lambda: "new")
    assert store.fetch("a", lambda: b"2") == b"2"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
