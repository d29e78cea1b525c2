from __future__ import annotations

import pytest

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.pipeline import recipe
from tests.compiler.pipeline.passes_for_tests import classifier

WHOLE = """
[settings]
max_drop = 0.5
exclude = ["head.*"]

[data]
size = [32, 32]

[[pass]]
name = "prune"
ratio = 0.3

[[pass.layers]]
match = "layer1.*"
ratio = 0.1

[[pass]]
name = "quantize-int8"
"""


def test_a_recipe_says_passes_settings_and_layers():
    read = recipe.parse(WHOLE)
    assert [step.item.name for step in read.steps] == ["prune-channels", "quantize-int8"]
    assert read.steps[0].item.ratio == 0.3
    assert read.steps[0].layers == (recipe.LayerRule("layer1.*", {"ratio": 0.1}),)
    assert read.settings == {"max_drop": 0.5, "exclude": ("head.*",)}
    assert read.pictures == {"size": [32, 32]}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("max_drop", "max_dorp", "unknown key 'max_dorp'; did you mean 'max_drop'?"),
        ("max_drop = 0.5", 'max_drop = "half"', "option 'max_drop' takes a number or none, not 'half'"),
        ("ratio = 0.3", "ration = 0.3", "no option 'ration'"),
        ("ratio = 0.1", "ration = 0.1", "no option 'ration'"),
        ("ratio = 0.1", "", "are given no option"),
        ("ratio = 0.1", "fold = false", "'fold' can't be set for single layers, only ratio can"),
        ("max_drop = 0.5", "max_drop = -1", "option 'max_drop' is 0 or more, not -1"),
        ("max_drop = 0.5", "seed = -1", "option 'seed' is 0 or more, not -1"),
        ("max_drop = 0.5", "threads = 0", "option 'threads' is 1 or more, not 0"),
        ('exclude = ["head.*"]', "exclude = [1]", "option 'exclude' takes a list of words, not (1,)"),
        ('match = "layer1.*"', "", "needs match"),
        ('name = "prune"', "", "needs a name"),
        ("[data]", "[dta]", "unknown key 'dta'"),
        ("[settings]", "[settings", "no valid TOML"),
    ],
)
def test_a_mistake_is_named_with_the_file(before, after, message):
    with pytest.raises(UsageError) as caught:
        recipe.parse(WHOLE.replace(before, after, 1), "r.toml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("r.toml: ")


def test_layers_that_are_not_tables_are_an_error():
    with pytest.raises(UsageError, match=r"'layers' are tables: write \[\[pass.layers\]\]"):
        recipe.parse('[[pass]]\nname = "prune"\nlayers = 3')


def test_a_recipe_without_passes_is_an_error():
    with pytest.raises(UsageError, match="names no pass"):
        recipe.parse("[settings]\nseed = 1")


def test_a_file_that_is_not_a_recipe_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="can't be read"):
        recipe.load(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8 text"):
        recipe.load(tmp_path / "binary.toml")


def test_globs_list_what_they_match():
    assert recipe.check_globs(["f*"], classifier()) == {"f*": ("fc",)}
    with pytest.raises(UsageError, match="no layer matches 'conv"):
        recipe.check_globs(["conv*"], classifier())
