from __future__ import annotations

import math

import numpy as np
import pytest

from onnx_compress.compiler.errors import DataError, UsageError
from onnx_compress.compiler.runtime.metrics import function_metric
from onnx_compress.compiler.runtime.metrics.class_scores import ClassScores, find, softmax
from onnx_compress.compiler.runtime.metrics.metric import choose
from onnx_compress.compiler.runtime.metrics.score import Score, drop, standard_error

LOGITS = np.array([[4, 0, 0], [0, 4, 0], [0, 0, 4], [3, 1, 0]], np.float32)
LABELS = np.array([0, 1, 1, 0])
EMBEDDING = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)


def measured(
    name: str | None, outputs: dict[str, np.ndarray], original: dict[str, np.ndarray], labels: np.ndarray | None = None
) -> Score:
    """The metric over two batches of two samples."""
    metric = choose(name, original, 4, labels)
    tally = metric.start()
    for rows in (slice(0, 2), slice(2, 4)):
        part = {key: array[rows] for key, array in original.items() if metric.needs is None or key in metric.needs}
        found = {key: array[rows] for key, array in outputs.items()}
        tally.add(found, 2, None if labels is None else labels[rows], part)
    return tally.score()


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


def test_cosine_is_over_all_samples_and_averaged_over_outputs() -> None:
    original = {"a": np.array([[3.0], [0], [0], [4]], np.float32), "b": np.ones((4, 2), np.float32)}
    other = {"a": np.array([[0.0], [0], [0], [4]], np.float32), "b": np.ones((4, 2), np.float32)}
    score = measured(None, other, original)
    assert score.name == "cosine"
    assert score.value == pytest.approx(100 * (16 / (5 * 4) + 1) / 2)
    assert measured("cosine", original, original).value == pytest.approx(100)


def test_cosine_of_outputs_that_are_missing_misshapen_or_nan() -> None:
    original = {"a": np.ones((4, 2), np.float32)}
    assert measured("cosine", {}, original).value == 0
    assert measured("cosine", {"a": np.ones((4, 3), np.float32)}, original).value == 0
    half = np.ones((4, 2), np.float32)
    half[:2] = math.nan
    assert measured("cosine", {"a": half}, original).value == pytest.approx(100 / math.sqrt(2))


def test_cosine_of_integers_is_the_share_of_equal_ones() -> None:
    original = {"n": np.arange(8).reshape(4, 2)}
    assert measured("cosine", {"n": original["n"] % 6}, original).value == pytest.approx(75)


def test_the_jackknife_error_of_the_cosine_is_that_of_repeated_draws() -> None:
    rng = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(300):
        x = rng.standard_normal((40, 5))
        metric = choose("cosine", {"y": x}, 40, None)
        tally = metric.start()
        tally.add({"y": x + 0.7 * rng.standard_normal(x.shape)}, 40, None, {"y": x})
        score = tally.score()
        values.append(score.value)
        errors.append(score.error)
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.06)


def test_the_error_of_a_drop_is_that_of_the_pairs() -> None:
    rng = np.random.default_rng(0)
    hits = 100.0 * (rng.random(200) < 0.8)
    fewer = hits.copy()
    fewer[:3] = 0
    before, after = (Score("top1", float(np.mean(e)), 200, standard_error(e), e) for e in (hits, fewer))
    lost = drop(before, after)
    assert lost.points == pytest.approx(before.value - after.value)
    assert lost.error == pytest.approx(standard_error(hits - fewer))
    assert before.error is not None
    assert lost.error < before.error / 2  # type: ignore[operator]


def test_the_error_is_shown_only_for_few_samples() -> None:
    assert str(Score("top1", 87.5, 255, 2.071)) == "87.50 ± 2.07"
    assert str(Score("top1", 87.5, 256, 2.071)) == "87.50"
    assert standard_error(np.ones(1)) is None


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


def test_two_classes_in_one_column() -> None:
    chance, logit = np.array([0.2, 0.6, 0.5, 0.9], np.float32), np.array([-1, 2, 0, 0.1], np.float32)
    for kind, column in (("chance", chance), ("logit", logit)):
        found = ClassScores("p", kind).choices({"p": column[:, None]})
        assert found.tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(ClassScores("p", "chance").probabilities({"p": chance})[:, 1], chance)
    np.testing.assert_allclose(
        ClassScores("p", "logit").probabilities({"p": logit})[:, 1], 1 / (1 + np.exp(-logit)), rtol=1e-6
    )


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


def mean_hit(outputs: dict[str, np.ndarray], labels: np.ndarray | None) -> float:
    assert labels is not None
    assert outputs["y"].shape == (4, 3)
    return float(np.mean(outputs["y"].argmax(1) == labels)) * 100


def on_disk(outputs: dict[str, np.ndarray], labels: np.ndarray | None) -> float:
    return float(isinstance(outputs["y"], np.memmap) and np.array_equal(outputs["y"], LOGITS))


def nothing(outputs: dict[str, np.ndarray], labels: np.ndarray | None) -> float:
    return math.nan


def failing(outputs: dict[str, np.ndarray], labels: np.ndarray | None) -> float:
    raise KeyError("scores")


def test_a_function_gets_all_outputs_and_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    score = measured(f"{__name__}:mean_hit", {"y": LOGITS}, {"y": LOGITS}, LABELS)
    assert (score.value, score.samples, score.error) == (75, 4, None)
    monkeypatch.setattr(function_metric, "IN_MEMORY", 10)
    assert measured(f"{__name__}:on_disk", {"y": LOGITS}, {"y": LOGITS}).value == 1


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("nothing", "returned nan"), ("failing", "failed: KeyError: 'scores'"), ("absent", "has no 'absent'")],
)
def test_a_function_that_fails(name: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        measured(f"{__name__}:{name}", {"y": LOGITS}, {"y": LOGITS})
