from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from onnx_compress.compiler.cli.settings_options import given, settings_options
from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.pipeline.settings import Settings


def parsed(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    @click.command()
    @settings_options
    def command(**options: Any) -> None:
        found.update(options)

    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    return found


def test_every_setting_is_an_option_with_its_help():
    @click.command()
    @settings_options
    def command(**options: Any) -> None: ...

    options = {option.name: option for option in command.params}
    declared = {info.name: info for info in Settings.declared()}
    assert list(options) == list(declared)
    for name, info in declared.items():
        assert options[name].help.lower() == f"{info.help}.".lower()


def test_only_what_is_given_counts():
    assert given(parsed()) == {}
    arguments = ("--max-drop", "2", "--seed", "0", "--exclude", "a*", "--exclude", "b", "--portable")
    assert given(parsed(*arguments)) == {"max_drop": 2.0, "seed": 0, "exclude": ("a*", "b"), "portable": True}


@pytest.mark.parametrize("arguments", [("--seed", "-1"), ("--max-drop", "nan"), ("--threads", "0")])
def test_values_out_of_bounds_are_named_by_their_option(arguments):
    with pytest.raises(UsageError, match=arguments[0]):
        given(parsed(*arguments))
