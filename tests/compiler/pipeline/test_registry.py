from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

import pytest

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.pipeline import registry
from onnx_compress.compiler.pipeline.base import Effect, Pass


@dataclass(frozen=True, kw_only=True)
class FromElsewhere(Pass):
    """A pass of another distribution."""

    name = "from-elsewhere"
    effect = Effect.EXACT


class NoPass:
    """Something else."""

    name = "from-elsewhere"


class Entry:
    """An entry point as `importlib.metadata` gives it."""

    def __init__(self, name, found):
        self.name, self.value, self._found = name, "other.module:Thing", found

    def load(self):
        return self._found


@pytest.fixture
def elsewhere(monkeypatch):
    """Makes another distribution with an entry point."""

    def install(name, found):
        monkeypatch.setattr(metadata, "entry_points", lambda group: [Entry(name, found)] if group else [])

    return install


def test_files_are_passes_and_private_files_are_not():
    assert registry._modules()["prune-channels"] == "onnx_compress.passes.prune.prune_channels"
    assert not [name for name in registry.names() if name.startswith(("-", "_"))]
    assert registry.find("prune-channels").__name__ == "PruneChannels"


def test_aliases_are_those_of_installed_passes():
    found = registry.aliases()
    assert found["prune"] == "prune-channels"
    assert set(found.values()) <= set(registry.names())


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("prunne", r"did you mean 'prune'\?"),
        ("quantise-int8", r"did you mean 'quantize-int8'\?"),
        ("xyz", "there are: "),
    ],
)
def test_an_unknown_name_is_told_the_nearest(name, hint):
    with pytest.raises(UsageError, match=f"no pass is called '{name}'; {hint}"):
        registry.find(name)


def test_another_distribution_adds_a_pass(elsewhere):
    elsewhere("from-elsewhere", FromElsewhere)
    assert registry.find("from-elsewhere") is FromElsewhere
    assert "from-elsewhere" in registry.names()
    assert FromElsewhere in registry.all_passes()


@pytest.mark.parametrize(("name", "found"), [("from-elsewhere", NoPass), ("other-name", FromElsewhere)])
def test_an_entry_point_without_a_pass_of_that_name_is_a_fault_of_its_distribution(elsewhere, name, found):
    elsewhere(name, found)
    with pytest.raises(
        TypeError, match=f"other.module:Thing: the pass's class must derive from Pass and be named '{name}'"
    ):
        registry.find(name)


def test_a_file_without_its_class_is_named():
    with pytest.raises(TypeError, match="spec must define the class NoSuchPass"):
        registry._load("no-such-pass", "onnx_compress.compiler.pipeline.spec")
