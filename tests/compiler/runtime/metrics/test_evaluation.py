from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.runtime import session
from onnx_compress.compiler.runtime.data.dataset import Dataset, load
from onnx_compress.compiler.runtime.metrics import evaluation as module
from onnx_compress.compiler.runtime.metrics.evaluation import Evaluation
from onnx_compress.compiler.runtime.session import Session
from tests.compiler.runtime.nets import net

RNG = np.random.default_rng(0)
WEIGHT = (4 * RNG.standard_normal((6, 3))).astype(np.float32)
ROWS = RNG.standard_normal((200, 6)).astype(np.float32)
LABELS = (ROWS @ WEIGHT).argmax(1)


def classifier(weight: np.ndarray = WEIGHT, batch: str = "N") -> onnx.ModelProto:
    return net(f"g (float[{batch},6] x) => (float[{batch},3] scores) {{ scores = MatMul (x, w) }}", w=weight)


def worse() -> onnx.ModelProto:
    """The classifier with one column replaced by noise."""
    weight = WEIGHT.copy()
    weight[:, 2] = RNG.standard_normal(6)
    return classifier(weight)


def given(loaded: Session, labelled: bool = True) -> Dataset:
    return load({"x": ROWS, **({"labels": LABELS} if labelled else {})}, loaded.inputs)


def test_the_original_is_measured_once_and_candidates_against_it() -> None:
    original = session.create(classifier())
    evaluation = Evaluation(original, given(original))
    assert (evaluation.metric.name, evaluation.before.value, evaluation.before.samples) == ("top1", 100, 200)
    candidate = session.create(worse())
    after = evaluation.measure(candidate)
    hits = candidate.run({"x": ROWS})["scores"].argmax(1) == LABELS
    assert after.value == pytest.approx(100 * hits.mean())
    lost = evaluation.drop(after)
    assert lost.points == pytest.approx(100 - after.value)
    assert lost.error is not None
    assert evaluation.measure(candidate).value == after.value


@pytest.mark.parametrize("metric", [None, "top1-expected", "agreement", "cosine"])
def test_the_original_is_not_needed_after_the_constructor(metric: str | None) -> None:
    original = session.create(classifier())
    evaluation = Evaluation(original, given(original, labelled=False), metric=metric)
    original.run = pytest.fail  # type: ignore[method-assign]
    assert evaluation.drop(evaluation.measure(session.create(classifier()))).points == 0
    assert evaluation.drop(evaluation.measure(session.create(worse()))).points > 1


def test_batches_of_fixed_size_count_each_sample_once() -> None:
    original = session.create(classifier(batch="7"))
    for metric in ("top1", "agreement", "cosine"):
        evaluation = Evaluation(original, given(original), metric=metric)
        assert evaluation.before.samples == 200
        assert evaluation.before.value == pytest.approx(100)


def test_a_function_sees_all_samples_once() -> None:
    original = session.create(classifier(batch="7"))
    assert Evaluation(original, given(original), metric=f"{__name__}:count").before.value == 200


def count(outputs: dict[str, np.ndarray], labels: np.ndarray) -> int:
    assert (outputs["scores"].argmax(1) == labels).all()
    return len(outputs["scores"])


def test_very_large_outputs_are_compared_on_fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_RECORDING", 50 * 12)
    original = session.create(classifier())
    assert Evaluation(original, given(original), metric="cosine").before.samples == 50
    assert Evaluation(original, given(original), metric="top1").before.samples == 200


def test_a_metric_that_does_not_apply() -> None:
    original = session.create(classifier())
    with pytest.raises(UsageError, match="metric 'top1': the data have no labels"):
        Evaluation(original, given(original, labelled=False), metric="top1")


def test_data_from_a_function_are_streamed_in_the_same_order_each_time() -> None:
    def batches() -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, 200, 8):
            yield {"x": ROWS[start : start + 8], "labels": LABELS[start : start + 8]}

    original = session.create(classifier())
    evaluation = Evaluation(original, load(batches, original.inputs).take(77), metric="agreement", size=10)
    assert evaluation.measure(session.create(classifier())).value == 100
