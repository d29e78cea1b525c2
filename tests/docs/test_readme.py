"""What readers see first: links that lead somewhere, a picture that loads nothing, a page that is not too long."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "models/README.md")), *(ROOT / "docs").glob("*.md")]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_readme_is_short_and_shows_a_picture_at_once():
    lines = README.splitlines()
    assert len(lines) <= 250
    assert any(line.startswith("![") for line in lines[:10])


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "images").glob("*.svg")), ids=lambda path: path.name)
def test_pictures_load_nothing(picture):
    text = picture.read_text(encoding="utf-8")
    assert re.findall(r"""(?:url|src|href)\s*[(=]\s*["']?(?!["']?#)""", text) == []


def test_documents_name_files_that_there_are():
    """Paths of the source tree in backquotes, those of the compiler's parts with or without `compiler/` in front."""
    parts = [path.name for path in (ROOT / "compiler").iterdir() if path.is_dir()]
    pattern = rf"`((?:compiler|passes|models|tests|docs|{'|'.join(parts)})/[\w./-]+)`"
    examples = {"passes/simplify/remove_dropout.py", "passes/sparsify/zero_smallest.py"}
    examples |= {"tests/passes/simplify/remove_dropout.md", "tests/passes/simplify/test_remove_dropout.py"}
    named = {path for page in PAGES for path in re.findall(pattern, page.read_text(encoding="utf-8"))}
    homes = (ROOT, ROOT / "compiler")
    assert {path for path in named - examples if not any((home / path).exists() for home in homes)} == set()
