"""cluster-weights: the weights of a layer share a few values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.analysis.weight_readers import ModelWeight, find_weights
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.repair import Sharing, refit, refit_data
from onnx_compress.compiler.storage.forms.choice import LEAST_SAVING, NODE_BYTES
from onnx_compress.passes.cluster import _kmeans
from onnx_compress.passes.cluster._allocation import PlannedBooks, allocated
from onnx_compress.passes.cluster._books import Books

REFITTED = 1024
"""Calibration samples for the refit; more if samples are small."""


@dataclass(frozen=True, kw_only=True)
class ClusterWeights(Pass):
    """Let the weights of each layer share at most 2^bits values, one of them zero; zeros stay zero.

    Given   y = Conv(x, w)
    Result  y = Conv(x, w'),  w' = c[p] with a codebook c of 2^bits values and an index p into it for each weight

    For Conv, ConvTranspose, Gemm, MatMul, LSTM, GRU, RNN and Gather; `encode` then stores c and p. Biases and
    normalizations stay unchanged, and so does a weight that would save fewer than 256 bytes. The values come from
    k-means:

        min over c, p   Σ u · (w − c[p])²

    With calibration data, Conv, ConvTranspose, Gemm and MatMul are then solved for by their outputs, front to back,
    with X the layer's inputs in the clustered model and Y its outputs before the pass, so that the results of
    training or of earlier fitting are kept:

        min over c, p, b   ‖X c[p] + 1 b − Y‖² + λ ‖c[p] − w‖²

    k-means starts from the best weights without a codebook; u is the diagonal of XᵀX times the effect of an
    output's error on later layers, estimated from their weights. The weights are rounded row by row, each row
    compensating for the error of the rows before; then each weight in turn takes the best value given all others,
    and c is solved for, until neither helps. A layer behind which an activation clips small values is fitted to the
    activation's output. The bias b is rounded to multiples of a power of two, which adds at most a hundredth to the
    layer's error and packs well. `refit` later treats a codebook in the same way.

    With `dim` above 1, vectors share the entries of the codebook: `dim` consecutive weights that one output reads,
    2^bits entries of `dim` numbers, bits/dim for each weight. With `per`, each run of `per` outputs has its own
    codebook. `init` applies to single values; vectors start with k-means++. Weights that can't be cut this way
    share single values, and so do weights with a fixed pattern of zeros.

    With `scope=global` and data, `bits` is the average over the weights: the effect of clustering one layer alone
    on the model's outputs is measured, and bits move from layers that matter less, or have many weights, to the
    others.

    Han, Mao and Dally, "Deep Compression", ICLR 2016 (arXiv:1510.00149), which trains c instead; Frantar et al.,
    "GPTQ", ICLR 2023 (arXiv:2210.17323); Behdin et al., "QuantEase", 2023 (arXiv:2309.01885); van Baalen et al.,
    "GPTVQ", 2024 (arXiv:2402.15319).

    The wrong choice for speed: onnxruntime computes with the weights as before. Without calibration data 4 bits
    cost several points on small nets. A scale folded into the weights afterwards breaks the codebook.
    """

    name = "cluster-weights"
    effect = Effect.LOSSY
    strength = "bits"
    per_layer = ("bits",)
    strengths = (8, 7, 6, 5, 4, 3, 2, 1)

    bits: int | None = option(
        None, "a weight takes one of 2^bits values, see scope; none: as few as the budget allows", low=1, high=8
    )
    init: str = option("linear", "start of k-means; optimal: the global optimum", choices=_kmeans.INITS)
    scope: str = option(
        "uniform",
        "uniform: the same bits for all layers; global: bits on average, more for layers that matter, if there is data",
        choices=("uniform", "global"),
    )
    dim: int = option(1, "length of the vectors in a codebook", choices=(1, 2, 4))
    per: int = option(0, "outputs that share a codebook; 0: all", low=0)
    refit: bool = option(True, "fit values and indices to the layers' outputs, if there is calibration data")

    def run(self, model: Model, ctx: Context) -> int:
        """Cluster the weights; returns the number of changed weights."""
        if self.bits is None:
            ctx.skip(self.name, "its bits are open and there is no budget to choose them: set one of them")
            return 0
        found = [(w, self._books(w, ctx)) for w in find_weights(model, ctx.is_excluded, ctx.skip)]
        weights = [(w, books) for w, books in found if self._pays(w, books)]
        if not weights:
            ctx.skip("the model", f"no float32 weight saves {LEAST_SAVING} bytes with 2^{self.bits} values")
            return 0
        plan = self._plan(model, weights, ctx)
        before = model.clone()
        dense = {node: one.weight.constant.values for one in plan for node, _ in one.weight.readers}
        changed = [
            _replace(model, one, one.books.clustered(one.weight.constant.values, one.bits, ctx.rng)) for one in plan
        ]
        if self.refit and ctx.data.real and any(changed):
            self._refit(model, before, dense, {node: one for one in plan for node, _ in one.weight.readers}, ctx)
        ctx.notes["bits"] = [{"weight": one.weight.constant.name, "bits": one.bits} for one in plan]
        return sum(changed)

    def _books(self, weight: ModelWeight, ctx: Context) -> Books:
        """How a weight is cut into codebooks: as the options say, or one codebook of single values."""
        books = Books.of(weight, self.dim, self.per, self.init)
        if isinstance(books, str):
            ctx.skip(weight.readers[0][0], books)
            return Books(None, self.init)
        return books

    def _pays(self, weight: ModelWeight, books: Books) -> bool:
        """Whether storing the weight with codebooks saves enough, estimated from its shape alone."""
        assert self.bits is not None
        dense, size = weight.constant.nbytes, weight.constant.dtype.itemsize
        stored = books.nbytes(dense // size, size, self.bits)
        return bool(dense - stored - NODE_BYTES - 8 * len(weight.constant.name) >= LEAST_SAVING)

    def _plan(self, model: Model, weights: Sequence[tuple[ModelWeight, Books]], ctx: Context) -> list[PlannedBooks]:
        """The bits of each weight: set by the recipe for its layer, otherwise by the scope."""
        assert self.bits is not None
        given = [_given(weight, ctx) for weight, _ in weights]
        free = [PlannedBooks(*pair, self.bits) for pair, bits in zip(weights, given) if bits is None]
        if self.scope == "global" and ctx.data.real and len(free) > 1:
            free = allocated(model, free, ctx)
        rest = iter(free)
        return [next(rest) if bits is None else PlannedBooks(*pair, bits) for pair, bits in zip(weights, given)]

    def _refit(
        self,
        model: Model,
        before: Model,
        dense: Mapping[Node, np.ndarray],
        plan: Mapping[Node, PlannedBooks],
        ctx: Context,
    ) -> None:
        def centroids(node: Node, weights: np.ndarray, importance: np.ndarray) -> np.ndarray:
            return plan[node].books.centroids(weights, importance, 1 << plan[node].bits, ctx.rng)

        report = refit(
            model,
            before,
            refit_data(model, ctx.data, ctx.effort, ctx.seed, REFITTED),
            ctx.rng,
            is_found=True,
            effort=ctx.effort,
            layers=lambda node: not ctx.is_excluded(node),
            progress=ctx.progress,
            sharing=Sharing(dense, centroids),
        )
        ctx.notes["refit"] = report.changed


def _replace(model: Model, one: PlannedBooks, shared: np.ndarray) -> bool:
    """Store the shared values; whether that changes anything."""
    if np.array_equal(shared, one.weight.constant.values):
        return False
    edit.replace_values(model, one.weight.constant, shared, one.books.structure(shared))
    return True


def _given(weight: ModelWeight, ctx: Context) -> int | None:
    """The bits that the recipe sets for layers that read the weight, the most of several."""
    found = [int(ctx.override(node)["bits"]) for node, _ in weight.readers if "bits" in ctx.override(node)]
    return max(found, default=None)
