from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.runtime.metrics.class_scores import ClassScores, are_classes, find, softmax
from tests.compiler.runtime.metrics.scored import EMBEDDING, LABELS, LOGITS


def test_two_classes_in_one_column() -> None:
    chance, logit = np.array([0.2, 0.6, 0.5, 0.9], np.float32), np.array([-1, 2, 0, 0.1], np.float32)
    for kind, column in (("chance", chance), ("logit", logit)):
        found = ClassScores("p", kind).choices({"p": column[:, None]})
        assert found.tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(ClassScores("p", "chance").probabilities({"p": chance})[:, 1], chance)
    np.testing.assert_allclose(
        ClassScores("p", "logit").probabilities({"p": logit})[:, 1], 1 / (1 + np.exp(-logit)), rtol=1e-6
    )


def test_labels_decide_which_output_scores_the_classes() -> None:
    outputs = {"embedding": EMBEDDING[:, :2], "y": LOGITS, "n": np.arange(4)}
    assert find(outputs, 4, LABELS) == ClassScores("embedding", "logits")
    assert find(outputs, 4, LABELS + 1) == ClassScores("y", "logits")
    assert find(outputs, 4, LABELS + 5) == ClassScores("n", "decision")
    assert find({"y": LOGITS[:3]}, 4, LABELS) is None


def test_without_labels_an_output_must_be_confident() -> None:
    assert find({"y": LOGITS * 0.01}, 4) is None
    assert find({"y": LOGITS * 0.01}, 4, trusting=True) == ClassScores("y", "logits")
    assert find({"embedding": EMBEDDING, "y": LOGITS}, 4) == ClassScores("y", "logits")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 3], True),
        ([-1, 3], False),
        ([0.0, 1.0], False),
        ([True, False], True),
        (["a", "b"], True),
        ([[0], [1]], False),
    ],
)
def test_labels_of_classes(labels: list[object], expected: bool) -> None:
    assert are_classes(np.array(labels)) == expected
    assert not are_classes(np.array([], np.int64))


def test_softmax_does_not_overflow() -> None:
    np.testing.assert_allclose(softmax(np.array([1e4, 1e4, -1e4])), [0.5, 0.5, 0])
    np.testing.assert_allclose(softmax(np.log([[0.2, 0.3, 0.5]])), [[0.2, 0.3, 0.5]])


def test_samples_with_nan_have_no_choice() -> None:
    scores = LOGITS.copy()
    scores[1, 2] = np.nan
    assert ClassScores("y", "logits").choices({"y": scores}).tolist() == [0, -1, 2, 0]
