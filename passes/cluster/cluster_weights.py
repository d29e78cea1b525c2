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
from onnx_compress.compiler.repair import Sharing, refit, sample_count
from onnx_compress.compiler.storage.forms.choice import LEAST_SAVING, NODE_BYTES
from onnx_compress.passes.cluster import _kmeans
from onnx_compress.passes.cluster._allocation import PlannedBooks, allocated
from onnx_compress.passes.cluster._books import Books

REFITTED = 1024
"""Samples to refit with, or more where they are small."""


@dataclass(frozen=True, kw_only=True)
class ClusterWeights(Pass):
    """Let the weights of each layer share at most 2^bits values, of which one is zero; zeros stay zero.

    Given   y = Conv(x, w)
    Result  y = Conv(x, w'),  w' = c[p] with a codebook c of 2^bits values and a place p in it for each weight

    For Conv, ConvTranspose, Gemm, MatMul, LSTM, GRU, RNN and Gather; `encode` then stores c and p. Biases and
    normalizations stay, and so does a weight that would save fewer than 256 bytes. The values are those of k-means:

        min over c, p   Σ u · (w − c[p])²

    With calibration data, Conv, ConvTranspose, Gemm and MatMul are then solved for by what they compute, front to
    back, X the layer's inputs in the clustered model and Y what it gave before the pass, so that what training or
    fitting has made of the layers is kept:

        min over c, p, b   ‖X c[p] + 1 b − Y‖² + λ ‖c[p] − w‖²

    k-means starts from the best weights without a codebook, with u the diagonal of XᵀX times what an error of the
    output costs further on, as far as the weights behind it tell. They are rounded row after
    row, those that follow making up for the error; then each weight in turn takes the value that is best
    given all others, and c is solved for, until neither helps. Layers behind which small values are cut off are fitted
    behind that. The bias b is rounded to multiples of a power of two, which adds at most a hundredth to the layer's
    error, so that it packs well. All that goes for what `refit` does later with a codebook.

    With `dim` above 1 it is vectors that share the entries of the codebook: so many weights in a row that one output
    reads, 2^bits entries of as many numbers, bits/dim for each weight. With `per` each run of so many outputs has a
    codebook of its own. `init` is for single values; vectors start by k-means++. Weights that can't be cut so share
    single values, and so do those that zeros of a pattern run through.

    With `scope=global` and data `bits` is what the weights get on average: how far clustering one layer alone moves
    the model's outputs is measured, and bits go from layers that count less, or have many weights, to the others.

    Han, Mao and Dally, "Deep Compression", ICLR 2016 (arXiv:1510.00149), which trains c instead; Frantar et al.,
    "GPTQ", ICLR 2023 (arXiv:2210.17323); Behdin et al., "QuantEase", 2023 (arXiv:2309.01885); van Baalen et al.,
    "GPTVQ", 2024 (arXiv:2402.15319).

    The wrong choice when speed is wanted: onnxruntime computes with the weights as before. Without calibration data
    4 bits cost several points on small nets. A scale folded into the weights afterwards breaks the codebook.
    """

    name = "cluster-weights"
    effect = Effect.LOSSY
    strength = "bits"
    per_layer = ("bits",)
    strengths = (8, 7, 6, 5, 4, 3, 2, 1)

    bits: int | None = option(
        None, "a weight takes one of 2^bits values, see scope; none: as far as the budget allows", low=1, high=8
    )
    init: str = option("linear", "what k-means starts from; optimal: the global optimum", choices=_kmeans.INITS)
    scope: str = option(
        "uniform",
        "the same bits for all layers; global: on average, more where measured to count, if there is data",
        choices=("uniform", "global"),
    )
    dim: int = option(1, "numbers of a vector that takes one entry of the codebook", choices=(1, 2, 4))
    per: int = option(0, "outputs that share a codebook; 0: all", low=0)
    refit: bool = option(True, "solve for values and places by the layers' outputs, if there is calibration data")

    def run(self, model: Model, ctx: Context) -> int:
        """Cluster; returns how many weights."""
        if self.bits is None:
            ctx.skip(self.name, "its bits are open: the budget decides them, and there is none here")
            return 0
        found = [(w, self._books(w, ctx)) for w in find_weights(model, ctx.is_excluded, ctx.skip)]
        weights = [(w, books) for w, books in found if self._pays(w, books)]
        if not weights:
            ctx.skip("model", f"no float32 weight saves {LEAST_SAVING} bytes with 2^{self.bits} values")
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
        """How a weight is cut, as far as it can be."""
        books = Books.of(weight, self.dim, self.per, self.init)
        if isinstance(books, str):
            ctx.skip(weight.readers[0][0], books)
            return Books(None, self.init)
        return books

    def _pays(self, weight: ModelWeight, books: Books) -> bool:
        """Whether storing the weight with codebooks saves enough; an estimate from its shape alone."""
        assert self.bits is not None
        dense, size = weight.constant.nbytes, weight.constant.dtype.itemsize
        stored = books.nbytes(dense // size, size, self.bits)
        return bool(dense - stored - NODE_BYTES - 8 * len(weight.constant.name) >= LEAST_SAVING)

    def _plan(self, model: Model, weights: Sequence[tuple[ModelWeight, Books]], ctx: Context) -> list[PlannedBooks]:
        """The bits of each weight: those that the recipe sets for a layer, the others as the scope says."""
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
            ctx.data.take(ctx.effort.at_most(sample_count(model, ctx.data, REFITTED)), ctx.seed),
            ctx.rng,
            is_found=True,
            effort=ctx.effort,
            layers=lambda node: not ctx.is_excluded(node),
            progress=ctx.progress,
            sharing=Sharing(dense, centroids),
        )
        ctx.notes["refit"] = report.changed


def _replace(model: Model, one: PlannedBooks, shared: np.ndarray) -> bool:
    """Whether that changes anything."""
    if np.array_equal(shared, one.weight.constant.values):
        return False
    edit.replace_values(model, one.weight.constant, shared, one.books.structure(shared))
    return True


def _given(weight: ModelWeight, ctx: Context) -> int | None:
    """The bits that the recipe sets for a layer that reads the weight; of several the most."""
    found = [int(ctx.override(node)["bits"]) for node, _ in weight.readers if "bits" in ctx.override(node)]
    return max(found, default=None)
