"""Every test has a latency table of its own."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _own_latency_table(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
