"""Golden tests of passes: Markdown files in which each case is a graph, a pass, and the graph that comes out.

A case is a heading with blocks under it::

    ## Two convolutions share a weight

    Why it matters, in a sentence.

    ```
    prune-channels:ratio=0.5   # close 0.3
    ```
    ```onnx before
    <ir_version: 10, opset_import: ["" : 21]>
    g (float[N,16] x) => (float[N,4] y) <float[16,4] w> { y = MatMul (x, w) }
    ```
    ```onnx after
    …
    ```
    ```skipped
    MatMul 'y': weight 'w' is also an input
    ```

The first block is a pipeline as on the command line; `--exclude GLOB`, `--seed N` and `--max-drop X` may follow it. The
comment is the tolerance: none means what the passes promise (EXACT: 1e-5 of the output's scale), `# close 0.3` is
another share of that scale, `# runs` asks for shapes only, behind EXACT passes where random operators decide.
`# close 0.3, lowers 0.7` demands too that the last pass lowers the error of the outputs, on samples that no pass has
seen, to at most 0.7 of what it is without that pass. A pipeline that ends with a repairing pass must say so.

`onnx after` is the canonical text (see `compiler/ir/text.py`), or `unchanged`, or `raises UsageError: message`.
Comment lines under it name the weights that kept name, type and shape and got other values, and behind lossy passes
say what the new values are (see `golden_values.py`). `skipped` lists every place that the passes refused, with the
reason; without the block there must be none. `pytest --update` writes both blocks as they are now.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

SPEC, BEFORE, AFTER, SKIPPED = "", "onnx before", "onnx after", "skipped"
ROLES = (SPEC, BEFORE, AFTER, SKIPPED)


class GoldenError(Exception):
    """A golden file that can't be read as cases, or a case whose expectation does not hold."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its text, and the lines of the file it takes (fences included, end exclusive)."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Case:
    """One case of a golden file; `line` is where its heading stands, counted from 0."""

    title: str
    line: int
    blocks: dict[str, Block] = field(default_factory=dict)

    @property
    def before(self) -> str:
        """The graph that goes in."""
        return self.blocks[BEFORE].text

    @property
    def after(self) -> str | None:
        """What is expected to come out; None when nobody has written it yet."""
        return self.blocks[AFTER].text if AFTER in self.blocks else None

    @property
    def skipped(self) -> str:
        """The expected refusals, one a line."""
        return self.blocks[SKIPPED].text if SKIPPED in self.blocks else ""

    @property
    def command(self) -> Command:
        """The first block, taken apart."""
        return Command.read(self.blocks[SPEC].text, self.title)


@dataclass(frozen=True)
class Command:
    """What a case runs and how closely the outputs must agree (None: as the passes promise).

    `lowers` is the share of the outputs' error that the last pass may leave; None: it is not looked at.
    """

    spec: str
    exclude: tuple[str, ...] = ()
    seed: int = 0
    max_drop: float = 1.0
    tolerance: float | None = None
    lowers: float | None = None

    @classmethod
    def read(cls, text: str, title: str) -> Command:
        """Parse `SPEC [--exclude GLOB] [--seed N] [--max-drop X]  # close X, lowers Y`."""
        line, _, comment = text.strip().partition("#")
        demands = _demands(comment.strip(), title)
        command, words = cls("", tolerance=demands.get("close"), lowers=demands.get("lowers")), iter(shlex.split(line))
        for word in words:
            if word == "--exclude":
                command = replace(command, exclude=(*command.exclude, next(words)))
            elif word == "--seed":
                command = replace(command, seed=int(next(words)))
            elif word == "--max-drop":
                command = replace(command, max_drop=float(next(words)))
            elif command.spec or word.startswith("-"):
                raise GoldenError(f"{title}: '{word}' is not part of a case's command")
            else:
                command = replace(command, spec=word)
        if not command.spec:
            raise GoldenError(f"{title}: the first block must name a pass")
        return command


def _demands(comment: str, title: str) -> dict[str, float]:
    """The numbers behind the words of a comment such as `close 0.3, lowers 0.7`."""
    demands = {}
    if comment == "runs":
        return {"close": math.inf}
    for part in filter(None, comment.split(", ")):
        word, _, number = part.partition(" ")
        if word not in ("close", "lowers") or not _is_share(number):
            raise GoldenError(
                f"{title}: a case demands 'close X' or 'lowers X', with a share X, or 'runs', not '{part}'"
            )
        demands[word] = float(number)
    return demands


def _is_share(number: str) -> bool:
    try:
        return 0 <= float(number) < 2
    except ValueError:
        return False


def read_cases(path: Path) -> list[Case]:
    """The cases of a golden file, in order. Raises GoldenError for a case that lacks a part, or a file without any."""
    cases: list[Case] = []
    for title, line, blocks in _sections(path.read_text(encoding="utf-8").splitlines()):
        roles = [role for role, _ in blocks if role in ROLES]
        if not roles:
            continue
        if len(set(roles)) < len(roles):
            raise GoldenError(f"{path}:{line + 1}: '{title}' has two blocks of a kind: one case per heading")
        if SPEC not in roles or BEFORE not in roles:
            raise GoldenError(f"{path}:{line + 1}: '{title}' needs a block with a pass and a block 'onnx before'")
        cases.append(Case(title, line, {role: block for role, block in blocks if role in ROLES}))
    titles = [case.title for case in cases]
    if len(set(titles)) < len(titles):
        raise GoldenError(f"{path}: two cases have the same title")
    if not cases:
        raise GoldenError(f"{path} has no case")
    return cases


def _sections(lines: list[str]) -> Iterator[tuple[str, int, list[tuple[str, Block]]]]:
    """(heading, its line, its blocks) for each heading."""
    title, start, blocks = "", 0, list[tuple[str, Block]]()
    i = 0
    while i < len(lines):
        if lines[i].startswith("#"):
            yield title, start, blocks
            title, start, blocks = lines[i].lstrip("#").strip(), i, []
        elif lines[i].startswith("```"):
            end = _closing_fence(lines, i)
            blocks.append((lines[i][3:].strip(), Block("\n".join(lines[i + 1 : end]), i, end + 1)))
            i = end
        i += 1
    yield title, start, blocks


def _closing_fence(lines: list[str], start: int) -> int:
    for i in range(start + 1, len(lines)):
        if lines[i].rstrip() == "```":
            return i
    raise GoldenError(f"line {start + 1}: the block is never closed")


def update(path: Path, title: str, after: str, skipped: str) -> None:
    """Write what a case gives now into its file."""
    case = next(case for case in read_cases(path) if case.title == title)
    lines = path.read_text(encoding="utf-8").splitlines()
    old = [case.blocks[role] for role in (AFTER, SKIPPED) if role in case.blocks]
    place = min((block.start for block in old), default=case.blocks[BEFORE].end)
    for block in sorted(old, key=lambda block: -block.start):
        del lines[block.start : block.end]
    new = ["```onnx after", *after.splitlines(), "```"]
    new += ["```skipped", *skipped.splitlines(), "```"] if skipped else []
    lines[place:place] = new
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
