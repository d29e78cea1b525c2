"""Running a golden case: the pass, and everything that must hold whatever the golden says."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import onnx

from onnx_compress.compiler.errors import CompressError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text, to_text
from onnx_compress.compiler.pipeline import spec
from onnx_compress.compiler.pipeline.base import Effect
from onnx_compress.compiler.pipeline.context import Skip
from onnx_compress.compiler.pipeline.settings import Settings
from tests.behaviour import EXACT, distance, feeds_for, identical, relative_error, run, signature
from tests.contexts import context
from tests.golden import Case, Command, GoldenError
from tests.golden_values import has_other_values, value_lines

UNSEEN = 64
"""Samples on which a repair must lower the error, none of which it has seen."""


@dataclass(frozen=True)
class Observed:
    """What a case gives: the graph as text (or one of the words), and the refusals."""

    after: str
    skipped: str


def run_case(case: Case) -> Observed:
    """Run a case and check its behaviour. Raises GoldenError for what must never happen."""
    before = from_text(case.before)
    onnx.checker.check_model(before.proto(), full_check=True)
    model, original = before.clone(), before.clone()
    skips: list[Skip] = []
    try:
        changed = apply(case.command, model, original, skips)
    except CompressError as error:
        _require(identical(original, before), case, "a pass changed the original")
        return Observed(f"raises {type(error).__name__}: {error}", _listed(skips))
    _require(identical(original, before), case, "a pass changed the original")
    _require(
        (changed == 0) == identical(model, before), case, f"run() returned {changed}, which does not fit the graph"
    )
    if changed == 0:
        return Observed("unchanged", _listed(skips))
    _check_result(case, before, model)
    _check_repair(case, before, model)
    return Observed("\n".join([to_text(model).rstrip(), *_comments(case, before, model)]), _listed(skips))


def apply(command: Command, model: Model, original: Model, skips: list[Skip]) -> int:
    """Run the command's passes on `model`; returns at how many places they changed it."""
    settings = Settings(seed=command.seed, max_drop=command.max_drop, exclude=command.exclude)
    changed = 0
    for one in spec.parse(command.spec):
        ctx = context(one, model, original, settings=settings)
        changed += one.run(model, ctx)
        skips += [*ctx.skips, *(Skip("missed", why) for why in ctx.missed)]
    return changed


def _check_result(case: Case, before: Model, model: Model) -> None:
    proto = model.proto()
    # The full check infers shapes, which does not see sparse initializers.
    onnx.checker.check_model(proto, full_check=not proto.graph.sparse_initializer)
    text = to_text(model)
    _require(_without_comments(to_text(from_text(text))) == _without_comments(text), case, "the text is not a fixpoint")
    passes = spec.parse(case.command.spec)
    if any(one.changes_inputs for one in passes):
        run(model, feeds_for(model))
        return
    _require(signature(model) == signature(before), case, "the inputs or outputs are not the same")
    feeds = feeds_for(before)
    expected, got = run(before, feeds), run(model, feeds)
    _require([a.shape for a in expected] == [a.shape for a in got], case, "outputs have other shapes")
    allowed = EXACT if case.command.tolerance is None else case.command.tolerance
    if case.command.tolerance in (None, math.inf):
        _require(all(one.effect is Effect.EXACT for one in passes), case, "a lossy pass needs '# close X'")
    far = distance(expected, got)
    _require(far <= allowed, case, f"outputs differ by {far:.3g} of their scale; {allowed:.3g} is allowed")
    if EXACT < allowed < math.inf:
        _require(far > allowed / 2, case, f"a tolerance of {allowed:.3g} hides a factor of two: {far:.3g} is measured")


def _check_repair(case: Case, before: Model, model: Model) -> None:
    """Whether the last pass lowers the error of the outputs as the case demands."""
    *others, last = spec.parse(case.command.spec)
    if case.command.lowers is None:
        _require(not last.repairs, case, f"{last.name} must lower the error: add 'lowers X'")
        return
    broken = before.clone()
    apply(replace(case.command, spec=spec.render(others)), broken, before, [])
    samples = feeds_for(before, seed=1, batch=UNSEEN)
    expected = run(before, samples)
    error, without = (relative_error(expected, run(one, samples)) for one in (model, broken))
    allowed = case.command.lowers
    _require(
        error <= allowed * without,
        case,
        f"{last.name} leaves an error of {error:.3g}, without it it is {without:.3g}; {allowed:.3g} of that is allowed",
    )


def _comments(case: Case, before: Model, after: Model) -> list[str]:
    """The lines under the graph that say which values changed."""
    if any(one.effect is not Effect.EXACT for one in spec.parse(case.command.spec)):
        return list(value_lines(before, after))
    old = {constant.name: constant for constant in before.constants()}
    names = [new.name for new in after.constants() if new.name in old and has_other_values(old[new.name], new)]
    return [f"# other values: {', '.join(names)}"] if names else []


def _listed(skips: list[Skip]) -> str:
    return "\n".join(f"{skip.where}: {skip.why}" for skip in skips)


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def _require(holds: bool, case: Case, message: str) -> None:
    if not holds:
        raise GoldenError(f"{case.title}: {message}")
