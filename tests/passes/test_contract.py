"""What every pass of the registry must do, whatever it is: tested here, so that no pass's own test needs to."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline import registry, spec
from onnx_compress.compiler.pipeline.base import Effect, Pass
from tests.behaviour import EXACT, distance, feeds_for, run, serialized, signature
from tests.contexts import context
from tests.golden import Command
from tests.golden_run import apply
from tests.small_models import MODELS, small_model

ROOT = Path(__file__).parents[2]
NAMES = registry.names()

each_pass = pytest.mark.parametrize("name", NAMES)
each_model = pytest.mark.parametrize("model_name", MODELS)


def configured(name: str) -> Pass:
    """The pass with default options, its strength set where it is open; finding it is the manager's work."""
    item = registry.find(name)()
    middle = item.strengths[len(item.strengths) // 2]
    return item.with_options(**{item.strength: middle}) if item.is_open() and item.strength else item


def given(name: str, model_name: str) -> Model:
    """The model that the pass gets: for one that repairs, with something to repair."""
    model = small_model(model_name)
    if registry.find(name).repairs:
        for constant in list(model.constants()):
            if constant.stored.dtype == np.float32 and len(constant.stored.shape) > 1:
                edit.replace_values(model, constant, np.float32(0.9) * constant.values)
    return model


@cache
def applied(name: str, model_name: str) -> tuple[Model, int]:
    """What the pass makes of the model, and what it returns; not to be changed by a test."""
    model, original = given(name, model_name), small_model(model_name)
    item = configured(name)
    changed = item.run(model, context(item, model, original))
    assert serialized(original) == serialized(small_model(model_name)), "the original must stay as it is"
    return model, changed


@each_pass
@each_model
def test_the_result_is_sound(name, model_name):
    model, changed = applied(name, model_name)
    before = given(name, model_name)
    assert (changed == 0) == (serialized(model) == serialized(before)), f"run() returned {changed}"
    proto = model.proto()
    onnx.checker.check_model(proto, full_check=not proto.graph.sparse_initializer)
    if registry.find(name).changes_inputs:
        run(model, feeds_for(model))
        return
    assert signature(model) == signature(before)
    feeds = feeds_for(before)
    expected, got = run(before, feeds), run(model, feeds)
    assert [array.shape for array in got] == [array.shape for array in expected]
    far = distance(expected, got)
    assert math.isfinite(far), "outputs are not finite"
    if registry.find(name).effect is Effect.EXACT:
        assert far <= EXACT


@each_pass
def test_it_changes_one_of_the_models(name):
    assert any(applied(name, model_name)[1] for model_name in MODELS), "add a model to tests/small_models.py"


@pytest.mark.parametrize("name", [name for name in NAMES if registry.find(name).effect is Effect.EXACT])
@each_model
def test_an_exact_pass_leaves_nothing_to_do(name, model_name):
    model, _ = applied(name, model_name)
    twice = model.clone()
    item = configured(name)
    assert item.run(twice, context(item, twice, model.clone())) == 0
    assert serialized(twice) == serialized(model)


def digests() -> dict[str, str]:
    """A fingerprint of what each pass makes of each model, refusals included."""
    found = {}
    for name in NAMES:
        for model_name in MODELS:
            model = given(name, model_name)
            skips = []
            apply(Command(spec.render([configured(name)])), model, small_model(model_name), skips)
            content = serialized(model) + repr(skips).encode()
            found[f"{name} on {model_name}"] = hashlib.sha256(content).hexdigest()
    return found


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes_whatever_the_hash_seed():
    program = "import json; from tests.passes.test_contract import digests; print(json.dumps(digests()))"
    command = [sys.executable, "-c", program]
    other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"  # this process has a random one, or that
    done = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": other}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == digests()


@each_pass
def test_name_file_and_class_agree(name):
    kind = registry.find(name)
    path = Path(inspect.getfile(kind)).resolve()
    assert kind.name == name
    assert path.stem == name.replace("-", "_")
    assert path.parents[1] == ROOT / "passes"
    assert kind.__name__ == "".join(word.capitalize() for word in name.split("-"))


@each_pass
def test_it_is_a_frozen_dataclass(name):
    item = configured(name)
    assert item == configured(name)
    with pytest.raises(FrozenInstanceError):
        item.name = "other"


@each_pass
def test_it_is_documented(name):
    kind = registry.find(name)
    first, *rest = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    assert re.fullmatch(r"[A-Z][^\n]*\.", first), "the docstring begins with one line, a sentence"
    assert not first.startswith(f"{kind.__name__}("), "the docstring must not be the dataclass's signature"
    assert kind.effect is Effect.EXACT or rest, "a lossy pass says what it does to the numbers, and when not to use it"
    assert inspect.getdoc(inspect.getmodule(kind)), "the module needs a docstring"


@each_pass
def test_its_options_are_few_and_documented(name):
    options = registry.find(name).options()
    assert len(options) <= 8
    for info in options:
        assert info.help, f"option {info.name} needs a line of help"
        assert not info.help.endswith("."), f"option {info.name}: help is a phrase, not a sentence"
        info.check(info.default, name)


@each_pass
def test_its_spec_reads_back(name):
    kind = registry.find(name)
    assert spec.parse(spec.render([kind()])) == [kind()]
    assert spec.parse(name) == [kind()]
    item = configured(name)
    assert spec.parse(spec.render([item])) == [item]
    for info in kind.options():
        for choice in info.choices or ():
            chosen = kind(**{info.name: choice})
            assert spec.parse(spec.render([chosen])) == [chosen]


@each_pass
def test_it_has_a_golden_file(name):
    file = name.replace("-", "_")
    verb = Path(inspect.getfile(registry.find(name))).parent.name
    assert (ROOT / "tests" / "passes" / verb / f"{file}.md").is_file()


def test_the_registry_is_not_empty():
    assert {"simplify", "prune-channels", "quantize-int8"} <= set(NAMES)
