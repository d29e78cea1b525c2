"""refit: weights are solved for again, so that layers produce their outputs from before compression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.repair import Fitted, refit


@dataclass(frozen=True, kw_only=True)
class Refit(Pass):
    """Repair in closed form the damage of the passes before it, without labels.

    For every Conv, ConvTranspose, Gemm and MatMul whose weights or inputs are not the original's, front to back:

        min over W, b   ‖X W + 1 b − Y‖² + λ ‖W − W₀‖²

    X are the layer's inputs in the compressed model, whose earlier layers are already repaired, so that errors do
    not add up. Y are the layer's outputs in the original, without the removed channels. W₀ are the present weights.
    X has a row for each sampled output position: the patch that the kernel reads there, with the layer's stride,
    padding, dilation and groups. If the data suffice, at least 24 rows are taken per unknown; XᵀX and XᵀY are summed
    in float64. The last layer of a residual branch aims at the original *sum* minus the present shortcut.

    Where a Relu or Clip follows, only the clipped output counts: rounds of least squares ignore differences that both
    models clip. Two layers with only a Relu or Clip between them are then fitted together for the second layer's aim,
    by Gauss-Newton steps: the remaining channels between them take over work of the removed ones, and errors of many
    channels cancel in the layer that reads them.

    Zero weights stay zero. For weights with a codebook, the solution consists of its values and of which weight takes
    which. Weights that are stored as integers or shared by several layers stay unchanged, and only the layer's bias
    is solved for. A BatchNormalization gets the mean and variance that restore the mean and spread of its output. A
    layer stays unchanged if the best weights do no better on the eighth of the rows that is not fitted; the ridge λ
    is the one that does best on those rows.

    He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017 (arXiv:1707.06168):
    rows, sequence and residual targets; Zhang et al., "Accelerating Very Deep Convolutional Networks for
    Classification and Detection", PAMI 2016 (arXiv:1505.06798): fitting behind the nonlinearity; Martens and
    Grosse, "Optimizing Neural Networks with Kronecker-factored Approximate Curvature", ICML 2015
    (arXiv:1503.05671): steps of two layers; Hubara et al., "Accelerated Sparse Neural Training", NeurIPS 2021
    (arXiv:2102.08124), AdaPrune: fitting on the support; Frantar and Alistarh, "Optimal Brain Compression", NeurIPS
    2022 (arXiv:2208.11580): statistics of BatchNormalization.

    The wrong choice without real samples: weights fitted to synthetic inputs do worse on real ones, so the pass then
    refuses. With fewer than 64 samples it repairs less; for models with quantized activations it does nothing.
    """

    name = "refit"
    effect = Effect.LOSSY
    repairs = True

    samples: int = option(1024, "most calibration samples to use", low=1)
    ridge: float | None = option(
        None, "λ as a share of the mean diagonal of XᵀX; none: per layer, the best on rows that are not fitted", low=0.0
    )

    def run(self, model: Model, ctx: Context) -> int:
        """Refit; returns the number of changed layers."""
        if not ctx.data.real:
            ctx.skip(self.name, "it needs real samples (--data): fitted to synthetic inputs, layers get worse")
            return 0
        report = refit(
            model,
            ctx.original,
            ctx.data.take(self.samples, ctx.seed),
            ctx.rng,
            layers=lambda node: not ctx.is_excluded(node),
            ridge=self.ridge,
            progress=ctx.progress,
        )
        for layer in report.layers:
            if layer.reason:
                ctx.skip(layer.name, layer.reason)
        if report.layers:
            ctx.notes["error"] = _summary(report.layers)
            ctx.notes["layers"] = [asdict(layer) for layer in report.layers]
        return report.changed


def _summary(layers: Sequence[Fitted]) -> str:
    """The mean error of the changed layers, as a share of their aim's spread."""
    changed = [layer for layer in layers if layer.is_changed]
    if not changed:
        return "no layer changed"
    before, after = (sum(values) / len(changed) for values in zip(*((x.before, x.after) for x in changed)))
    return f"{before:.3f} → {after:.3f} of the spread on average over {len(changed)} layers"
