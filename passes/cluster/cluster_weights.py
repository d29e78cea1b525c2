"""cluster-weights: the weights of a layer share a few values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from onnx_compress.compiler.analysis.weights import Weight, find_weights
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.repair import Sharing, amount, refit
from onnx_compress.compiler.storage.structure import Structure
from onnx_compress.passes.cluster import _kmeans
from onnx_compress.passes.cluster._allocation import allocated, stored_bytes

LEAST_SAVING = 256
"""Bytes that a weight must save to be worth its codebook."""
NODE_BYTES = 160
"""What the nodes and names around a stored weight take."""
REFITTED = 1024
"""Samples to refit with, or more where they are small."""


@dataclass(frozen=True, eq=False)
class Planned:
    """One weight that will take 2^bits values."""

    weight: Weight
    bits: int


@dataclass(frozen=True, kw_only=True)
class ClusterWeights(Pass):
    """Let the weights of each layer share at most 2^bits values, of which one is zero; zeros stay zero.

    Given   y = Conv(x, w)
    Result  y = Conv(x, w'),  w' = c[p] with a codebook c of 2^bits values and a place p in it for each weight

    For Conv, ConvTranspose, Gemm, MatMul, LSTM, GRU, RNN and Gather; `encode` then stores c and p. Biases and
    normalizations stay, and so does a weight that would save fewer than 256 bytes. The values are those of k-means:

        min over c, p   Σ u · (w − c[p])²

    With calibration data, Conv, ConvTranspose, Gemm and MatMul are then solved for by what they compute, front to
    back, X the layer's inputs in the clustered model and Y what it gave in the original:

        min over c, p, b   ‖X c[p] + 1 b − Y‖² + λ ‖c[p] − w‖²

    k-means starts from the best weights without a codebook, with u the diagonal of XᵀX times what an error of the
    output costs further on, as far as the weights behind it tell. They are rounded row after
    row, those that follow making up for the error; then each weight in turn takes the value that is best
    given all others, and c is solved for, until neither helps. Layers behind which small values are cut off are fitted
    behind that. The bias b is rounded to multiples of a power of two, which adds at most a hundredth to the layer's
    error, so that it packs well. All that goes for what `refit` does later with a codebook.

    With `scope=global` and data `bits` is what the weights get on average: how far clustering one layer alone moves
    the model's outputs is measured, and bits go from layers that count less, or have many weights, to the others.

    Han, Mao and Dally, "Deep Compression", ICLR 2016 (arXiv:1510.00149), which trains c instead; Frantar et al.,
    "GPTQ", ICLR 2023 (arXiv:2210.17323); Behdin et al., "QuantEase", 2023 (arXiv:2309.01885).

    The wrong choice when speed is wanted: onnxruntime computes with the weights as before. Without calibration data
    4 bits cost several points on small nets. A scale folded into the weights afterwards breaks the codebook.
    """

    name = "cluster-weights"
    effect = Effect.LOSSY
    strength = "bits"
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
    refit: bool = option(True, "solve for values and places by the layers' outputs, if there is calibration data")

    def run(self, model: Model, ctx: Context) -> int:
        """Cluster; returns how many weights."""
        if self.bits is None:
            ctx.skip(self.name, "its bits are open: the budget decides them, and there is none here")
            return 0
        weights = [w for w in find_weights(model, ctx.is_excluded, ctx.skip) if self._pays(w)]
        if not weights:
            ctx.skip("model", f"no float32 weight saves {LEAST_SAVING} bytes with 2^{self.bits} values")
            return 0
        plan = self._plan(model, weights, ctx)
        dense = {node: w.constant.values for w in weights for node, _ in w.readers}
        changed = [self._replace(model, one.weight, self._clustered(one.weight, one.bits, ctx)) for one in plan]
        if self.refit and ctx.data.real and any(changed):
            bits = {node: one.bits for one in plan for node, _ in one.weight.readers}
            self._refit(model, dense, bits, ctx)
        ctx.notes["bits"] = [{"weight": one.weight.constant.name, "bits": one.bits} for one in plan]
        return sum(changed)

    def _pays(self, weight: Weight) -> bool:
        """Whether storing the weight with a codebook saves enough; an estimate from its shape alone."""
        assert self.bits is not None
        dense, size = weight.constant.nbytes, weight.constant.dtype.itemsize
        stored = stored_bytes(dense // size, size, self.bits)
        return bool(dense - stored - NODE_BYTES - 8 * len(weight.constant.name) >= LEAST_SAVING)

    def _plan(self, model: Model, weights: Sequence[Weight], ctx: Context) -> list[Planned]:
        """The bits of each weight: those that the recipe sets for a layer, the others as the scope says."""
        assert self.bits is not None
        given = {id(w): _given(w, ctx) for w in weights}
        free = [w for w in weights if given[id(w)] is None]
        bits = [self.bits] * len(free)
        if self.scope == "global" and ctx.data.real and len(free) > 1:
            bits = allocated(model, free, self.bits, partial(self._clustered, ctx=ctx), ctx)
        found = {**given, **{id(w): b for w, b in zip(free, bits)}}
        return [Planned(w, found[id(w)] or self.bits) for w in weights]

    def _clustered(self, weight: Weight, bits: int, ctx: Context) -> np.ndarray:
        """The values that share 2^bits, by k-means of the weights alone."""
        values = weight.constant.values
        flat = values.reshape(-1).astype(np.float64)
        book = _kmeans.centroids(flat, np.ones(flat.size), 1 << bits, self.init, ctx.rng)
        nearest = book[np.searchsorted((book[1:] + book[:-1]) / 2, flat)] * (flat != 0)
        return np.asarray(nearest.astype(values.dtype).reshape(values.shape))

    def _replace(self, model: Model, weight: Weight, shared: np.ndarray) -> bool:
        """Whether that changes anything."""
        if np.array_equal(shared, weight.constant.values):
            return False
        edit.replace_values(model, weight.constant, shared, Structure.tied(shared))
        return True

    def _refit(self, model: Model, dense: Mapping[Node, np.ndarray], bits: Mapping[Node, int], ctx: Context) -> None:
        def centroids(node: Node, weights: np.ndarray, importance: np.ndarray) -> np.ndarray:
            return _kmeans.centroids(weights, importance, 1 << bits[node], self.init, ctx.rng)

        report = refit(
            model,
            ctx.original,
            ctx.data.take(amount(model, ctx.data, REFITTED), ctx.seed),
            ctx.rng,
            layers=lambda node: not ctx.is_excluded(node),
            progress=ctx.progress,
            sharing=Sharing(dense, centroids),
        )
        ctx.notes["refit"] = report.changed


def _given(weight: Weight, ctx: Context) -> int | None:
    """The bits that the recipe sets for a layer that reads the weight; of several the most."""
    found = [int(ctx.override(node)["bits"]) for node, _ in weight.readers if "bits" in ctx.override(node)]
    return max(found, default=None)
