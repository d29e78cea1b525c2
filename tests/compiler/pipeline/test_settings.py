from __future__ import annotations

import pytest

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.pipeline.settings import Settings


def test_the_last_table_wins_and_exclusions_add_up():
    merged = Settings.of({"seed": 1, "threads": 4, "exclude": ("a", "b")}, {"seed": 2, "exclude": ("b", "c")})
    assert merged == Settings(seed=2, threads=4, exclude=("a", "b", "c"))
    assert Settings.of() == Settings()


def test_what_is_given_is_what_differs_from_the_defaults():
    assert Settings(seed=3, raw=True).given() == {"seed": 3, "raw": True}
    assert Settings().given() == {}


@pytest.mark.parametrize(("given", "budget"), [(None, 1.0), (0.0, 0.0), (2.5, 2.5)])
def test_the_budget_is_one_point_unless_given(given, budget):
    assert Settings(max_drop=given).budget == budget


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_drop": -1.0}, "settings: option 'max_drop' is 0 or more, not -1.0"),
        ({"max_drop": float("inf")}, "'max_drop' is a finite number of points, not inf"),
        ({"max_drop": float("nan")}, "option 'max_drop' is 0 or more, not nan"),
        ({"seed": -1}, "'seed' is 0 or more"),
        ({"threads": 0}, "'threads' is 1 or more"),
        ({"opset": 6}, "'opset' is 7 or more"),
        ({"exclude": "head"}, "'exclude' takes a list of words, not 'head'"),
    ],
)
def test_values_out_of_bounds_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Settings(**options)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"sede": 1}, r"recipe: unknown key 'sede'; did you mean 'seed'\?"),
        ({"colour": 1}, "recipe: unknown key 'colour'; the keys are metric, max_drop, exclude"),
        ({"seed": None}, "recipe: 'seed' has no value"),
        ({"seed": 1.5}, "recipe: option 'seed' takes a whole number"),
    ],
)
def test_a_mistake_in_a_table_is_named(table, message):
    with pytest.raises(UsageError, match=message):
        Settings.table(table, "recipe")


def test_a_list_of_a_table_is_a_tuple_of_settings():
    assert Settings.table({"exclude": ["a", "b"], "raw": True}, "recipe") == {"exclude": ("a", "b"), "raw": True}
