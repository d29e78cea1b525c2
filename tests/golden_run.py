"""Running a golden case: the pass, and everything that must hold whatever the golden says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

from onnx_compress.compiler.errors import CompressError
from onnx_compress.compiler.ir.graph import Constant
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text, to_text
from onnx_compress.compiler.pipeline import spec
from onnx_compress.compiler.pipeline.base import Effect, Pass
from onnx_compress.compiler.pipeline.context import Context, Skip
from onnx_compress.compiler.runtime.data.synthetic import synthetic
from onnx_compress.compiler.runtime.timing.layer_times import Forms
from tests.golden import Case, Command, GoldenError

EXACT = 1e-5
SAMPLES = 16
STEP = 16
"""Channels that kernels take at a time, as with AVX-512."""
FREE_DIM = 3
"""Extent of a dimension that the model leaves open."""

Feeds = Mapping[str, np.ndarray]
onnxruntime.set_default_logger_severity(4)


@dataclass(frozen=True)
class Observed:
    """What a case gives: the graph as text (or one of the words), and the refusals."""

    after: str
    skipped: str


@dataclass
class PlainJudge:
    """Measures for real how far outputs move, in percent of their size, and estimates time by the bytes of weights.

    So goldens see honest numerics and the same decision on every machine.
    """

    reference: Model
    max_drop: float = 1.0

    def drop(self, model: Model) -> float:
        feeds = feeds_for(self.reference)
        return 100 * _distance(run(self.reference, feeds), run(model, feeds), _norm)

    def speed(self, models: Mapping[str, Model], feeds: Feeds | None = None) -> Mapping[str, float]:
        return {name: 1e-3 * (1 + model.weight_bytes()) for name, model in models.items()}

    def layer_times(self, forms: Forms, advance: Callable[[], object]) -> list[dict[str, float]]:
        return [_layer_times(forms.build(i)) for i in range(len(forms.widths))]

    def channel_step(self) -> int:
        return STEP


def _layer_times(model: Model) -> dict[str, float]:
    """What each layer's own weights take, as `PlainJudge.speed` counts them."""
    return {
        node.name or node.outputs[0].name: 1e-3 * max(1, sum(t.nbytes for t in node.inputs if isinstance(t, Constant)))
        for node in model.graph.nodes
    }


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
    return Observed(to_text(model).rstrip() + _other_values(before, model), _listed(skips))


def apply(command: Command, model: Model, original: Model, skips: list[Skip]) -> int:
    """Run the command's passes on `model`; returns at how many places they changed it."""
    changed = 0
    for one in spec.parse(command.spec):
        ctx = context(one, model, original, command)
        changed += one.run(model, ctx)
        skips += ctx.skips
    return changed


def context(one: Pass, model: Model, original: Model, command: Command | None = None) -> Context:
    """What the manager would give to `one`: seeded synthetic data, and a judge that answers the same everywhere."""
    command = command or Command(one.name)

    def run_spec(text: str) -> int:
        nested = Command(text, command.exclude, command.seed, command.max_drop)
        return apply(nested, model, original, ctx.skips)

    data = synthetic(original, samples=SAMPLES, seed=command.seed)
    data.source.real = one.repairs  # these refuse made-up inputs
    ctx = Context(
        model=model,
        original=original,
        data=data,
        judge=PlainJudge(original, command.max_drop),
        seed=command.seed,
        pass_name=one.name,
        exclude=command.exclude,
        run_spec=run_spec,
    )
    return ctx


def _check_result(case: Case, before: Model, model: Model) -> None:
    proto = model.proto()
    # The full check infers shapes, which does not see sparse initializers.
    onnx.checker.check_model(proto, full_check=not proto.graph.sparse_initializer)
    text = to_text(model)
    _require(_without_comments(to_text(from_text(text))) == _without_comments(text), case, "the text is no fixpoint")
    passes = spec.parse(case.command.spec)
    if any(one.changes_inputs for one in passes):
        run(model, feeds_for(model))
        return
    _require(signature(model) == signature(before), case, "the inputs or outputs are not the same")
    feeds = feeds_for(before)
    expected, got = run(before, feeds), run(model, feeds)
    _require([a.shape for a in expected] == [a.shape for a in got], case, "outputs have other shapes")
    allowed = case.command.tolerance
    if allowed is None:
        _require(all(one.effect is Effect.EXACT for one in passes), case, "a lossy pass needs '# close X' or '# runs'")
        allowed = EXACT
    far = distance(expected, got)
    _require(far <= allowed, case, f"outputs differ by {far:.3g} of their scale; {allowed:.3g} is allowed")


def identical(a: Model, b: Model) -> bool:
    """Whether two models are written as the same bytes."""
    return serialized(a) == serialized(b)


def serialized(model: Model) -> bytes:
    return bytes(model.proto().SerializeToString(deterministic=True))


def signature(model: Model) -> list[tuple[str, str]]:
    """Names and types of inputs and outputs, in order."""
    graph = model.skeleton().graph
    return [(info.name, str(info.type)) for info in (*graph.input, *graph.output)]


def run(model: Model, feeds: Feeds) -> list[np.ndarray]:
    """The outputs of `model` in onnxruntime; infinite or undefined numbers are an error."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # 8-bit products saturate on x86 without VNNI: without integer kernels, every CPU gives the same results.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(
        model.proto().SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(value) for value in session.run(None, dict(feeds))]


def feeds_for(model: Model, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs drawn from their declared types and shapes: floats are normal, whole numbers 0 or 1."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for info in model.inputs():
        dtype = onnx.helper.tensor_dtype_to_np_dtype(info.dtype)
        shape = [dim if isinstance(dim, int) else FREE_DIM for dim in info.shape or ()]
        values = rng.standard_normal(shape) if np.issubdtype(dtype, np.floating) else rng.integers(0, 2, shape)
        feeds[info.name] = np.asarray(values).astype(dtype)
    return feeds


def _norm(difference: np.ndarray) -> float:
    return float(np.linalg.norm(difference))


def _largest(difference: np.ndarray) -> float:
    return float(np.max(np.abs(difference), initial=0.0))


def distance(expected: list[np.ndarray], got: list[np.ndarray]) -> float:
    """How far outputs differ at most, as a share of the expected one's largest; nan where one is not finite."""
    return _distance(expected, got, _largest)


def _distance(expected: list[np.ndarray], got: list[np.ndarray], size: Callable[[np.ndarray], float]) -> float:
    """The largest distance of an output pair, as a share of the expected one's size; nan where one is not finite."""
    return float(np.max([_pair_distance(a, b, size) for a, b in zip(expected, got, strict=True)]))  # np.max keeps nan


def _pair_distance(a: np.ndarray, b: np.ndarray, size: Callable[[np.ndarray], float]) -> float:
    if a.dtype.kind not in "fc":
        return 0.0 if np.array_equal(a, b) else float("nan")
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        return float("nan")
    wide = a.astype(np.float64)
    return size(wide - b.astype(np.float64)) / (size(wide) or 1.0)


def _other_values(before: Model, after: Model) -> str:
    """A comment that names the weights which kept name, type and shape and got other values."""
    old = {constant.name: constant for constant in before.constants()}
    names = []
    for constant in after.constants():
        twin = old.get(constant.name)
        if twin is None or (twin.stored.shape, twin.stored.dtype) != (constant.stored.shape, constant.stored.dtype):
            continue
        if twin.values.tobytes() != constant.values.tobytes():
            names.append(constant.name)
    return f"\n# other values: {', '.join(names)}" if names else ""


def _listed(skips: list[Skip]) -> str:
    return "\n".join(f"{skip.where}: {skip.why}" for skip in skips)


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def _require(holds: bool, case: Case, message: str) -> None:
    if not holds:
        raise GoldenError(f"{case.title}: {message}")
