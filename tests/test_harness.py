"""The golden harness itself: it accepts what is right, and a planted fault of each kind makes it fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.ir import edit, weights
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline import registry
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.pipeline.context import Context
from tests.conftest import compare
from tests.golden import Case, GoldenError, read_cases, update
from tests.golden_run import Observed, run_case


@dataclass(frozen=True, kw_only=True)
class Bypass(Pass):
    """Remove Identity nodes; refuses those that give an output."""

    name = "bypass"
    effect = Effect.EXACT

    def run(self, model: Model, ctx: Context) -> int:
        done = 0
        for node in model.nodes():
            if node.is_op("Identity") and not ctx.is_excluded(node):
                if edit.bypass(model, node):
                    done += 1
                else:
                    ctx.skip(node, "it gives an output")
        return done


@dataclass(frozen=True, kw_only=True)
class Scale(Pass):
    """Multiply every weight of a MatMul by `factor`."""

    name = "scale"
    effect = Effect.LOSSY
    factor: float = option(1.1, "what to multiply by")
    count: int = option(1, "what to return; -1: the truth")

    def run(self, model: Model, ctx: Context) -> int:
        for node in model.nodes():
            if node.is_op("MatMul"):
                edit.set_weight(model, node, 1, weights.input_value(node, 1) * np.float32(self.factor))
        return self.count


@dataclass(frozen=True, kw_only=True)
class Mend(Pass):
    """Take back half of what Scale did."""

    name = "mend"
    effect = Effect.LOSSY
    repairs = True

    def run(self, model: Model, ctx: Context) -> int:
        return Scale(factor=1.05 / 1.1).run(model, ctx)


@dataclass(frozen=True, kw_only=True)
class Fault(Pass):
    """Does what no pass may do."""

    name = "fault"
    effect = Effect.LOSSY
    kind: str = option("", "which fault")

    def run(self, model: Model, ctx: Context) -> int:
        getattr(self, self.kind)(model, ctx)
        return 1

    def rename(self, model: Model, ctx: Context) -> None:
        model.graph.outputs[0].name = "other"

    def original(self, model: Model, ctx: Context) -> None:
        edit.replace_values(ctx.original, next(iter(ctx.original.constants())), np.zeros((4, 2), np.float32))

    def undefined(self, model: Model, ctx: Context) -> None:
        edit.set_attr(model, model.graph.nodes[0], "no_such_attribute", 1)

    def nan(self, model: Model, ctx: Context) -> None:
        edit.replace_values(model, next(iter(model.constants())), np.full((4, 2), np.nan, np.float32))

    def error(self, model: Model, ctx: Context) -> None:
        raise UsageError("fault: no such thing")


@pytest.fixture(autouse=True)
def _passes(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {kind.name: kind for kind in (Bypass, Scale, Mend, Fault)}
    monkeypatch.setattr(registry, "find", known.__getitem__)


BEFORE = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,4] x) => (float[N,2] y) <float[4,2] w> { a = Identity (x)  y = MatMul (a, w) }"""

ROOT = Path(__file__).parent.parent

GOOD = """<
   ir_version: 10,
   opset_import: ["" : 21]
>
g (float[N,4] x) => (float[N,2] y)
   <float[4,2] w>
{
   y = MatMul (x, w)
}"""


def case_of(tmp_path: Path, command: str, before: str = BEFORE) -> Case:
    path = tmp_path / "case.md"
    path.write_text(f"# Pass\n\n## Case\n\n```\n{command}\n```\n```onnx before\n{before}\n```\n")
    return read_cases(path)[0]


def test_a_right_golden_passes(tmp_path):
    assert run_case(case_of(tmp_path, "bypass")) == Observed(GOOD, "")


def test_a_wrong_golden_fails_with_a_diff(tmp_path):
    path = tmp_path / "case.md"
    case_of(tmp_path, "bypass")
    update(path, "Case", GOOD.replace("MatMul (x, w)", "MatMul (a, w)"), "")
    with pytest.raises(GoldenError, match=r"(?s)'after' differs.*-   y = MatMul \(a, w\)\n\+   y = MatMul \(x, w\)"):
        compare(read_cases(path)[0], GOOD, "")


def test_a_golden_without_its_after_fails(tmp_path):
    with pytest.raises(GoldenError, match="has no block 'onnx after'"):
        compare(case_of(tmp_path, "bypass"), GOOD, "")


def test_refusals_are_compared_too(tmp_path):
    before = BEFORE.replace("y = MatMul (a, w)", "b = MatMul (a, w) y = Identity (x)").replace("[N,2] y", "[N,4] y")
    observed = run_case(case_of(tmp_path, "bypass --exclude nothing", before))
    assert observed.skipped == "Identity 'y': it gives an output"
    update(tmp_path / "case.md", "Case", observed.after, "")
    with pytest.raises(GoldenError, match="'skipped' differs"):
        compare(read_cases(tmp_path / "case.md")[0], observed.after, observed.skipped)


def test_unchanged_is_a_result(tmp_path):
    assert run_case(case_of(tmp_path, "bypass", GOOD)) == Observed("unchanged", "")


def test_exclude_keeps_a_layer_out(tmp_path):
    before = BEFORE.replace("a = Identity", '["first"] a = Identity')
    assert run_case(case_of(tmp_path, "bypass --exclude 'fi*'", before)).after == "unchanged"


def test_changed_values_are_named(tmp_path):
    after = run_case(case_of(tmp_path, "scale  # close 0.11")).after
    assert after.endswith("}\n# w: 0 of 8 are 0, size 0.8424, marks -0.440 0.937")


def test_a_repair_that_lowers_the_error_passes(tmp_path):
    run_case(case_of(tmp_path, "scale,mend  # close 0.06, lowers 0.51"))


def test_an_error_is_a_result(tmp_path):
    assert run_case(case_of(tmp_path, "fault:kind=error")).after == "raises UsageError: fault: no such thing"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("scale  # close 0.09", "outputs differ by 0.1 of their scale; 0.09 is allowed"),
        ("scale  # close 0.3", "a tolerance of 0.3 hides a factor of two: 0.1 is measured"),
        ("scale", "a lossy pass needs '# close X'"),
        ("scale  # runs", "a lossy pass needs '# close X'"),
        (
            "bypass,scale  # close 0.11, lowers 0.9",
            "scale leaves an error of 0.1, without it it is 0; 0.9 of that is allowed",
        ),
        ("scale,mend  # close 0.06", "mend must lower the error: add 'lowers X'"),
        ("scale,mend  # close 0.06, lowers 0.4", "mend leaves an error of 0.05, without it it is 0.1; 0.4 of that"),
        ("scale:count=0  # close 1", "run\\(\\) returned 0, which does not fit the graph"),
        ("scale:factor=1.0  # close 1", "run\\(\\) returned 1, which does not fit the graph"),
        ("fault:kind=rename  # close 0.1", "the inputs or outputs are not the same"),
        ("fault:kind=original  # close 0.1", "a pass changed the original"),
        ("fault:kind=nan  # close 0.1", "outputs differ by nan"),
    ],
)
def test_a_fault_of_the_pass_fails(tmp_path, command, message):
    with pytest.raises(GoldenError, match=message):
        run_case(case_of(tmp_path, command))


def test_an_invalid_graph_fails(tmp_path):
    with pytest.raises(Exception, match="no_such_attribute"):
        run_case(case_of(tmp_path, "fault:kind=undefined  # close 0.1"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# Only prose\n", "has no case"),
        ("# A\n```onnx before\n```\n", "needs a block with a pass"),
        ("# A\n```\nbypass\n```\n", "needs a block with a pass"),
        ("# A\n```\nbypass\n```\n```onnx before\n```\n```onnx before\n```\n", "two blocks of a kind"),
        ("# A\n```\nbypass\n", "never closed"),
        ("# A\n```\nbypass\n```\n```onnx before\n```\n# A\n```\nbypass\n```\n```onnx before\n```\n", "same title"),
    ],
)
def test_a_golden_file_that_tests_nothing_fails(tmp_path, text, message):
    path = tmp_path / "bad.md"
    path.write_text(text)
    with pytest.raises(GoldenError, match=message):
        read_cases(path)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "# close 0.1",
        "bypass # near 1",
        "bypass # close x",
        "bypass # close inf",
        "bypass # close 1 lowers 1",
        "bypass --nonsense",
        "bypass scale",
    ],
)
def test_a_command_that_means_nothing_fails(tmp_path, command):
    with pytest.raises(GoldenError):
        _ = case_of(tmp_path, command).command


def test_update_writes_what_is_read_back_and_is_stable(tmp_path):
    path = tmp_path / "case.md"
    case_of(tmp_path, "bypass")
    update(path, "Case", GOOD, "Add 'a': because")
    once = path.read_text()
    update(path, "Case", GOOD, "Add 'a': because")
    assert path.read_text() == once
    compare(read_cases(path)[0], GOOD, "Add 'a': because")
    update(path, "Case", "unchanged", "")
    assert path.read_text().endswith("```onnx after\nunchanged\n```\n")


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "--import-mode=importlib", "-q", "tests", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_pytest_finds_the_file_fails_on_a_planted_fault_and_accepts_an_update(tmp_path):
    home = Path(__file__).parent
    (tmp_path / "tests" / "passes").mkdir(parents=True)
    for path in home.glob("[!t]*.py"):
        shutil.copy(path, tmp_path / "tests")
    golden = tmp_path / "tests" / "passes" / "simplify.md"
    wrong = GOOD.replace("MatMul", "Gemm")
    golden.write_text(
        f"## Identity goes\n```\nsimplify\n```\n```onnx before\n{BEFORE}\n```\n```onnx after\n{wrong}\n```\n"
    )
    failed = pytest_in(tmp_path)
    assert failed.returncode == 1, failed.stdout
    assert "FAILED tests/passes/simplify.md::Identity goes" in failed.stdout
    assert "-   y = Gemm (x, w)" in failed.stdout
    assert pytest_in(tmp_path, "--update").returncode == 0
    assert "y = MatMul (x, w)" in golden.read_text()
    accepted = pytest_in(tmp_path)
    assert accepted.returncode == 0
    assert "1 passed" in accepted.stdout
