from __future__ import annotations

import pytest

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.pipeline import registry, spec


@pytest.mark.parametrize(
    "text",
    [
        "simplify",
        "prune-channels:ratio=0.3",
        "prune-channels:ratio=0.3:criterion=l1,quantize-int8",
        "simplify:keep_batchnorm=true",
    ],
)
def test_parse_and_render_are_inverses(text):
    assert spec.render(spec.parse(text)) == text


def test_aliases_stand_for_passes():
    assert [item.name for item in spec.parse("prune,quantize")] == ["prune-channels", "quantize-int8"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prunne", "no pass is called 'prunne'; did you mean 'prune'?"),
        ("prune:ration=0.3", "prune-channels has no option 'ration'; did you mean 'ratio'? it has ratio"),
        ("prune:ratio=much", "option 'ratio' takes a number or none, not 'much'"),
        ("prune:ratio", "write 'ratio=…', with a value of a number or none"),
        ("prune:ratio=2", "lies between"),
        ("prune:ratio=0.1:ratio=0.2", "option 'ratio' is given twice"),
        ("prune:criterion=best", "is one of"),
        ("prune,,quantize", "empty place"),
        ("", "empty place"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(text, message):
    with pytest.raises(UsageError) as caught:
        spec.parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_none_leaves_a_strength_open():
    assert spec.parse("prune:ratio=none")[0].is_open()
    assert not spec.parse("prune:ratio=0.5")[0].is_open()


def test_build_takes_typed_options():
    assert spec.build("prune", {"ratio": 0.5}).ratio == 0.5
    with pytest.raises(UsageError, match="takes a number or none"):
        spec.build("prune", {"ratio": "0.5"})


def test_every_pass_has_a_name_that_finds_it():
    for kind in registry.all_passes():
        assert registry.find(kind.name) is kind
    assert set(registry.aliases()) <= set(registry.ALIASES)
