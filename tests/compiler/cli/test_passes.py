from __future__ import annotations

import pytest

from onnx_compress.compiler.cli.main import main
from onnx_compress.compiler.pipeline import registry

pytestmark = pytest.mark.usefixtures("folder")


def test_passes_lists_and_shows(capsys):
    assert main(["passes"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in registry.names())
    assert main(["passes", "quantize"]) == 0
    assert "CVPR 2018" in capsys.readouterr().out


def test_the_reference_is_a_page(capsys):
    assert main(["passes", "--markdown"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# Passes\n")
    assert "## simplify\n" in text
