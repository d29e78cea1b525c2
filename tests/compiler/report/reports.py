"""A run as the manager records it, with everything that a report can show."""

from __future__ import annotations

import math

from onnx_compress.compiler.pipeline.context import Skip
from onnx_compress.compiler.pipeline.run_report import (
    Figures,
    MetricChange,
    PassReport,
    RememberedTimes,
    Report,
    SlowerLayer,
    Timing,
)
from onnx_compress.compiler.runtime.metrics.numerics import Numerics

BEFORE = Figures(bytes=1_090_000, parameters=269_036, nonzero=269_034, macs=40_812_544, latency_ms=0.491)
PRUNED = Figures(bytes=780_000, parameters=190_000, nonzero=190_000, macs=28_900_000, latency_ms=0.38)
AFTER = Figures(bytes=212_000, parameters=190_000, nonzero=188_000, macs=28_900_000, latency_ms=0.201)
LOGITS = Numerics(max_abs=0.0123, scale=11.2, cosine=0.99981, sqnr_db=31.2)
EXACT = Numerics(max_abs=0.0, scale=1.0, cosine=1.0, sqnr_db=math.inf)

SIMPLIFIED = PassReport(
    name="simplify", options={"keep_batchnorm": False}, changed=12, kept=True, seconds=0.31, figures=BEFORE
)
PRUNE = PassReport(
    name="prune-channels",
    options={"ratio": 0.3, "criterion": "l2"},
    changed=9,
    kept=True,
    effect="lossy",
    reason="it costs 1.20 points of top1, the budget is 1; kept because its strength was given",
    skips=tuple(Skip(f"Conv 'layer{i}'", "its channels reach the output") for i in range(5)),
    notes={"ratios": {"layer1": 0.25}},
    seconds=4.2,
    figures=PRUNED,
    numerics=LOGITS,
    metric_after=86.48,
)
ROLLED_BACK = PassReport(
    name="convert-float16",
    options={},
    changed=31,
    kept=False,
    effect="lossy",
    reason="it costs 37.00 points of top1, the budget is 1",
    seconds=1.2,
    figures=PRUNED,
    metric_after=50.0,
)
QUANTIZED = PassReport(
    name="quantize-int8",
    options={"types": "auto"},
    changed=21,
    kept=True,
    effect="lossy",
    seconds=61.2,
    figures=AFTER,
    numerics=LOGITS,
    metric_after=87.4,
)
REPORT = Report(
    input=BEFORE,
    output=AFTER,
    passes=(SIMPLIFIED, PRUNE, QUANTIZED),
    seed=7,
    versions={"python": "3.11.7", "onnxruntime": "1.32.0"},
    metric=MetricChange(name="top1", before=87.68, after=87.4, samples=128, real_data=True, stderr=0.83, max_drop=1.0),
    numerics={"aux": EXACT, "logits": LOGITS},
    timing=Timing(threads=1, batch=1, input_spread_ms=0.004, output_spread_ms=0.003, ratio=0.41, ratio_spread=0.01),
    source="models/resnet.onnx",
    target="small.onnx",
    spec="prune-channels:ratio=0.3,quantize-int8",
    oldest_onnxruntime="1.15",
)
REMEMBERED = RememberedTimes(choices=3, since="2025-11-30", machine="m", table="t.json")
SLOWER = tuple(SlowerLayer(name=f"conv{i}", before_ms=0.031, after_ms=0.052) for i in range(7))
