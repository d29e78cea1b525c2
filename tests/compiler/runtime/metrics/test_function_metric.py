from __future__ import annotations

import math

import numpy as np
import pytest

from onnx_compress.compiler.errors import DataError
from onnx_compress.compiler.runtime.metrics import function_metric
from tests.compiler.runtime.metrics.scored import LABELS, LOGITS, measured


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
