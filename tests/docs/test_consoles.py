"""The consoles in the documents run: `pytest --update tests/docs/test_consoles.py` writes what their commands print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("quick-start.md", "storage.md")
BLOCK = re.compile(r"^```(console|python|toml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Shell:
    """A folder with the repository's models, in which `onnx-compress` and `python` are those of the tests."""

    folder: Path

    @classmethod
    def of(cls, folder: Path) -> Shell:
        (folder / "models").symlink_to(ROOT / "models")
        (folder / "bin").mkdir()
        for name, module in (("python", ""), ("onnx-compress", "-m onnx_compress")):
            program = folder / "bin" / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
            program.chmod(0o755)
        return cls(folder)

    def run(self, command: str) -> str:
        """What a command prints; it must end well."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        # Times remembered from elsewhere would steer the choices, and stand in what is printed.
        cache = str(self.folder / "cache")
        settings = {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "XDG_CACHE_HOME": cache}
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def replayed(block: str, shell: Shell) -> str:
    """A console with what its commands print now."""
    commands = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    assert commands, block
    return "".join(f"$ {command}\n{shell.run(command)}" for command in commands)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page, tmp_path, request):
    shell, path = Shell.of(tmp_path), ROOT / "docs" / page

    def done(found: re.Match[str]) -> str:
        kind, block = found.groups()
        if kind == "console":
            return f"```console\n{replayed(block, shell)}```"
        named = re.match(r"# (\w+\.(?:py|toml))\n", block)
        if named is not None:
            (tmp_path / named[1]).write_text(block)
        return found[0]

    text = path.read_text(encoding="utf-8")
    fresh = BLOCK.sub(done, text)
    assert [line for line in fresh.splitlines() if line.startswith("$ ")]
    if request.config.getoption("--update"):
        path.write_text(fresh, encoding="utf-8")
