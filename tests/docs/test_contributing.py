"""The passes in CONTRIBUTING.md are complete: extracted, they pass the contract suite, their goldens and a real run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import onnx_compress
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.pipeline import recipe, registry
from tests.compiler.pipeline.passes_for_tests import classifier, labelled
from tests.golden import read_cases
from tests.golden_run import run_case
from tests.passes import test_contract
from tests.small_models import MODELS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SOURCES = {path: text for path, text in re.findall(r"`(passes/\w+/\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)}
NAMES = [Path(path).stem.replace("_", "-") for path in SOURCES]


@pytest.fixture(autouse=True)
def registered(tmp_path, monkeypatch):
    """The passes of the page, found like all others."""
    modules = dict(registry._modules())
    for path, text in SOURCES.items():
        name = Path(path).stem
        (tmp_path / f"{name}.py").write_text(text)
        modules[name.replace("_", "-")] = name
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_modules", lambda: modules)
    test_contract.applied.cache_clear()
    yield
    test_contract.applied.cache_clear()


def test_there_are_an_exact_and_a_lossy_one():
    assert [registry.find(name).effect.value for name in NAMES] == ["exact", "lossy"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model_name", MODELS)
def test_they_are_sound(name, model_name):
    test_contract.test_the_result_is_sound(name, model_name)


@pytest.mark.parametrize("name", NAMES)
def test_they_change_something(name):
    test_contract.test_it_changes_one_of_the_models(name)


@pytest.mark.parametrize("model_name", MODELS)
def test_the_exact_one_leaves_nothing_to_do(model_name):
    test_contract.test_an_exact_pass_leaves_nothing_to_do(NAMES[0], model_name)


def test_the_golden_cases_hold(tmp_path):
    golden = re.search(r"````markdown\n(.*?)````", PAGE, re.DOTALL)
    assert golden is not None
    (tmp_path / "golden.md").write_text(golden[1])
    cases = read_cases(tmp_path / "golden.md")
    assert len(cases) == 2
    for case in cases:
        observed = run_case(case)
        assert (observed.after, observed.skipped) == (case.after, case.skipped)


def test_the_open_strength_is_found_within_the_budget():
    model = classifier()
    weight = next(model.constants())
    edit.replace_values(model, weight, np.where(weight.values == 0, np.float32(1e-3), weight.values))
    result = onnx_compress.compress(model, "zero-smallest", data=labelled(800))
    report = next(one for one in result.report.passes if one.name == "zero-smallest")
    assert report.kept
    # Four of 24 weights carry the classes: with nine tenths gone, some class is.
    assert report.options["share"] == 0.85
    assert result.report.output.nonzero == 4
    assert result.report.metric is not None
    assert result.report.metric.drop <= 1


def test_a_recipe_sets_the_strength_of_one_layer():
    text = '[[pass]]\nname = "zero-smallest"\nshare = 0.0\n[[pass.layers]]\nmatch = "fc"\nshare = 1.0\n'
    result = onnx_compress.compress(classifier(), recipe.parse(text), data=labelled())
    assert result.report.output.nonzero == 0


@pytest.mark.parametrize("path", SOURCES)
def test_they_are_in_the_house_style(path):
    command = [sys.executable, "-m", "ruff", "check", "--stdin-filename", path, "-"]
    done = subprocess.run(command, input=SOURCES[path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    command = [sys.executable, "-m", "ruff", "format", "--check", "--stdin-filename", path, "-"]
    done = subprocess.run(command, input=SOURCES[path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
