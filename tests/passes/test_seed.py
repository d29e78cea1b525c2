"""What a pass draws from the calibration samples depends on the run's seed."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_compress.compiler.pipeline import spec
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.compiler.runtime.data.dataset import Dataset
from tests.contexts import context
from tests.small_models import small_model

SEED = 5
ONLY_SHAPES = 2
"""Samples that are taken for their shapes, whichever they are."""


@pytest.mark.parametrize(
    "item",
    [
        "prune-channels:ratio=0.3",
        "prune-channels:ratio=0.3:criterion=lasso",
        "prune-blocks:ratio=0.3",
        "sparsify-weights:sparsity=0.5:rounds=2",
        "cluster-weights:bits=3:scope=global",
    ],
)
def test_samples_are_drawn_by_the_seed(item: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    take, parts = Dataset.take, Dataset.parts

    def taken(self: Dataset, count: int, seed: int = 0) -> Dataset:
        seeds.extend([seed] * (count > ONLY_SHAPES))
        return take(self, count, seed)

    def parted(self: Dataset, *shares: float, seed: int = 0) -> tuple[Dataset, ...]:
        seeds.append(seed)
        return parts(self, *shares, seed=seed)

    monkeypatch.setattr(Dataset, "take", taken)
    monkeypatch.setattr(Dataset, "parts", parted)
    model = small_model("residual")
    data = {"x": np.random.default_rng(0).standard_normal((80, 3, 8, 8)).astype(np.float32)}
    one = spec.parse(item)[0]
    one.run(model, context(one, model, data=data, settings=Settings(seed=SEED)))
    assert set(seeds) == {SEED}
