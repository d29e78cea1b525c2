"""Collects golden files (`tests/passes/**/*.md`) as tests; `--update` accepts what they give now.

Also keeps exported nets in pytest's cache from one run to the next.
"""

from __future__ import annotations

import difflib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from models import store
from tests.golden import AFTER, Case, GoldenError, read_cases, update
from tests.golden_values import settled

ROOT = Path(__file__).parent
SLOW_SECONDS = 5

settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="write what the golden tests give now into their files")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's background jobs ignore it, and so would the processes that tests interrupt: they would never end.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--update") and config.getoption("numprocesses", None):
        raise pytest.UsageError("--update rewrites files, in which several processes would collide: leave out -n")
    cache = getattr(config, "cache", None)  # absent with -p no:cacheprovider
    if cache is not None:
        store.keep_in(cache.mkdir("nets"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note the processor's seconds of a test, in which other programs of the machine do not count."""
    before = os.times()
    yield
    spent = sum(os.times()[:4]) - sum(before[:4])
    item.user_properties.append(("seconds", spent))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that took long and are not marked so; no failure, because machines differ."""
    for report in terminalreporter.stats.get("passed", []):
        seconds = dict(report.user_properties).get("seconds", 0)
        if seconds > SLOW_SECONDS and "slow" not in report.keywords:
            terminalreporter.write_line(f"{seconds:.1f} s without the mark 'slow': {report.nodeid}")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix == ".md" and ROOT / "passes" in file_path.parents:
        return GoldenFile.from_parent(parent, path=file_path)
    return None


class GoldenFile(pytest.File):
    """A Markdown file of cases."""

    def collect(self) -> Iterator[pytest.Item]:
        try:
            cases = read_cases(self.path)
        except GoldenError as error:
            raise self.CollectError(str(error)) from None
        for case in cases:
            yield GoldenItem.from_parent(self, name=case.title, case=case)


class GoldenItem(pytest.Item):
    """One case: its behaviour is checked, then its text compared."""

    def __init__(self, *, case: Case, **rest: object) -> None:
        super().__init__(**rest)
        self.case = case

    def runtest(self) -> None:
        from tests.golden_run import run_case

        observed = run_case(self.case)
        after = settled(self.case.after or "", observed.after)
        if self.config.getoption("--update"):
            update(self.path, self.case.title, after, observed.skipped)
            return
        compare(self.case, after, observed.skipped)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: str | None = None) -> object:
        if isinstance(excinfo.value, GoldenError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.case.line, self.case.title


def compare(case: Case, after: str, skipped: str) -> None:
    """Raise GoldenError with a diff unless the case gives what its file says."""
    if case.after is None:
        raise GoldenError(f"{case.title}: has no block '{AFTER}' yet: pytest --update writes it")
    for role, expected, got in (("after", case.after, after), ("skipped", case.skipped, skipped)):
        if expected.rstrip() != got:
            lines = difflib.unified_diff(expected.rstrip().splitlines(), got.splitlines(), "golden", "now", lineterm="")
            raise GoldenError("\n".join([f"{case.title}: '{role}' differs (pytest --update accepts it):", *lines]))
