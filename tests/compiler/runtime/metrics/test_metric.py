from __future__ import annotations

import math

import numpy as np
import pytest

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.runtime.metrics.class_scores import ClassScores, find, softmax
from onnx_compress.compiler.runtime.metrics.metric import choose
from onnx_compress.compiler.runtime.metrics.score import drop
from tests.compiler.runtime.metrics.scored import EMBEDDING, LABELS, LOGITS, measured


def test_top1_counts_hits() -> None:
    score = measured(None, {"y": LOGITS}, {"y": LOGITS}, LABELS)
    assert (score.name, score.value, score.samples) == ("top1", 75, 4)
    assert score.each is not None
    assert score.each.tolist() == [100, 100, 0, 100]
    assert score.error == pytest.approx(np.std([100, 100, 0, 100], ddof=1) / 2)


def test_top1_expected_is_the_originals_confidence_in_the_choices() -> None:
    changed = LOGITS[[0, 1, 2, 3]].copy()
    changed[3] = [0, 5, 0]  # the least confident sample now gets class 1
    belief = softmax(LOGITS.astype(float))
    before = measured(None, {"y": LOGITS}, {"y": LOGITS})
    after = measured(None, {"y": changed}, {"y": LOGITS})
    assert before.name == "top1-expected"
    assert before.value == pytest.approx(100 * belief.max(1).mean())
    assert drop(before, after).points == pytest.approx(100 * (belief[3, 0] - belief[3, 1]) / 4)


def test_top1_expected_uses_probabilities_unchanged() -> None:
    chances = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [1.0, 0.0]], np.float32)
    after = measured("top1-expected", {"p": chances[:, ::-1]}, {"p": chances})
    assert after.value == pytest.approx(100 * np.mean([0.1, 0.2, 0.3, 0.0]))


def test_agreement_counts_every_change() -> None:
    changed = LOGITS.copy()
    changed[3] = [0, 5, 0]
    assert measured("agreement", {"y": changed}, {"y": LOGITS}).value == 75


@pytest.mark.parametrize("name", ["top1", "top1-expected", "agreement"])
def test_nan_is_not_a_choice(name: str) -> None:
    broken = LOGITS.copy()
    broken[0, 0] = math.nan  # argmax would take NaN as the largest, and be right
    labels = np.array([0, 1, 2, 0])
    whole = measured(name, {"y": LOGITS}, {"y": LOGITS}, labels)
    lost = measured(name, {"y": broken}, {"y": LOGITS}, labels)
    assert whole.each is not None
    assert lost.each is not None
    assert lost.each[0] == 0
    np.testing.assert_array_equal(lost.each[1:], whole.each[1:])


@pytest.mark.parametrize(
    ("outputs", "labels", "expected"),
    [
        ({"y": LOGITS}, LABELS, ("top1", ClassScores("y", "logits"))),
        ({"y": LOGITS.reshape(4, 3, 1, 1)}, LABELS, ("top1", ClassScores("y", "logits"))),
        ({"y": softmax(LOGITS)}, LABELS, ("top1", ClassScores("y", "probabilities"))),
        ({"a": EMBEDDING[:, :2], "y": LOGITS}, np.array([0, 1, 2, 1]), ("top1", ClassScores("y", "logits"))),
        ({"p": np.array([[0.1], [0.9], [0.2], [0.7]], np.float32)}, LABELS, ("top1", ClassScores("p", "chance"))),
        ({"p": np.array([-3, 2, 1, 0.5], np.float32)}, LABELS, ("top1", ClassScores("p", "logit"))),
        ({"n": np.array([0, 1, 2, 0])}, LABELS, ("top1", ClassScores("n", "decision"))),
        (
            {"n": np.array(["a", "b", "a", "a"], object)},
            np.array(["a", "a", "a", "b"]),
            ("top1", ClassScores("n", "decision")),
        ),
        ({"y": LOGITS}, None, ("top1-expected", ClassScores("y", "logits"))),
        ({"y": LOGITS}, np.array([0, 1, 2, 3]), ("top1-expected", ClassScores("y", "logits"))),
        ({"y": LOGITS}, np.array([0.5, 1, 2, 3]), ("top1-expected", ClassScores("y", "logits"))),
        ({"y": EMBEDDING}, None, ("cosine", None)),
        ({"y": LOGITS * 0.01}, None, ("cosine", None)),
        ({"y": np.ones((4, 3, 8, 8), np.float32)}, None, ("cosine", None)),
        ({"y": np.ones((4, 1), np.float32)}, None, ("cosine", None)),
        ({"y": np.ones((7, 3), np.float32)}, None, ("cosine", None)),
    ],
)
def test_the_default_metric_follows_from_labels_and_outputs(
    outputs: dict[str, np.ndarray], labels: np.ndarray | None, expected: tuple[str, ClassScores | None]
) -> None:
    metric = choose(None, outputs, 4, labels)
    assert metric.name == expected[0]
    assert (find(outputs, 4, labels) or find(outputs, 4)) == expected[1]


@pytest.mark.parametrize(
    ("name", "outputs", "labels", "complaint"),
    [
        ("top1", {"y": LOGITS}, None, "metric 'top1': the data have no labels"),
        ("top1", {"y": LOGITS}, np.array([0, 1, 2, 3]), "no output has a score for each label"),
        ("agreement", {"y": np.ones((4, 3, 8, 8), np.float32)}, None, "no output looks like class scores"),
        (
            "f1",
            {"y": LOGITS},
            None,
            "metric 'f1' is unknown: use top1, top1-expected, agreement, cosine, or module:function",
        ),
    ],
)
def test_metrics_that_do_not_apply(
    name: str, outputs: dict[str, np.ndarray], labels: np.ndarray | None, complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        choose(name, outputs, 4, labels)


def test_a_metric_requested_by_name_trusts_the_user() -> None:
    assert choose("top1-expected", {"y": LOGITS * 0.01}, 4, None).name == "top1-expected"
