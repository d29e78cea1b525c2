"""quantize-weights: weights are stored as 8- or 4-bit integers and computed with as floats."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_compress.compiler.analysis.weight_readers import ModelWeight, find_weights
from onnx_compress.compiler.ir import edit
from onnx_compress.compiler.ir.graph import Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.opset import raise_opset
from onnx_compress.compiler.pipeline.base import Effect, Pass, option
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.runtime.timing.latency import is_faster
from onnx_compress.compiler.storage.forms.choice import LEAST_SAVING, NODE_BYTES
from onnx_compress.compiler.storage.forms.symbols import NIBBLES_OPSET
from onnx_compress.compiler.surgery.lifted_weights import lifted
from onnx_compress.passes.quantize._dequantize_opsets import BLOCKS_OPSET, SCALES_OPSET
from onnx_compress.passes.quantize._weights import decode
from onnx_compress.passes.quantize._weights.grouping import Stored, blocked, per_channel


@dataclass(frozen=True, kw_only=True)
class QuantizeWeights(Pass):
    """Store the weights of Conv, ConvTranspose, Gemm, MatMul, LSTM, GRU, RNN and Gather as integers with scales.

    Given   y = Conv(x, w)
    Result  y = Conv(x, Mul(Cast(q), s))    with q = round(w/s) in 8 or 4 bits, s > 0 per channel or block

    onnxruntime folds the expression when it loads the model, so the file shrinks 4 or 8 times, and speed and memory at
    run time do not change. The scale of each group is the one of least squared error, so the largest weights may be
    clipped. MatMul has a second form, DequantizeLinear, which onnxruntime turns into a kernel that reads the integers:
    it takes less memory and is faster for few rows. `matmul=auto` uses it if it is measured at least 5 % faster.

    Needs no data. Weights inside the bodies of If, Loop and Scan are stored like others. Biases and normalizations
    stay, and so does a weight that would save fewer than 256 bytes.

    The wrong choice to make convolutions faster: see quantize-int8. Four bits per channel lose much on small
    convolutional nets: use blocks, or cluster-weights.
    """

    name = "quantize-weights"
    effect = Effect.LOSSY
    bits: int = option(8, "bits of the stored integers: 8 or 4", choices=(8, 4))
    block: int = option(
        0, "weights per scale along a channel (16, 32, 64, …); 0: one scale per channel", low=0, high=4096
    )
    matmul: str = option(
        "auto",
        "form for MatMul: folded at load, dequantize (integers at run time), or auto for the faster one",
        choices=("auto", "folded", "dequantize"),
    )

    def run(self, model: Model, ctx: Context) -> int:
        """See the class."""
        weights = self._worthwhile(model, ctx)
        if not weights:
            ctx.skip("the model", f"no float32 weight saves {LEAST_SAVING} bytes in {self.bits} bits")
            return 0
        form = self._form(model, weights, ctx)
        return self._store(model, ctx, form)

    def _worthwhile(self, model: Model, ctx: Context, *, report: bool = True) -> list[ModelWeight]:
        refuse = ctx.skip if report else _silent
        return [w for w in find_weights(model, ctx.is_excluded, refuse) if self._saving(w) >= LEAST_SAVING]

    def _saving(self, weight: ModelWeight) -> int:
        """Bytes that storing the weight as integers saves; an estimate from its shape."""
        elements = weight.constant.nbytes // 4
        channels = 1
        for axis in weight.kept:
            channels *= weight.constant.shape[axis]
        groups = max(channels, elements // self.block) if self.block else channels
        around = NODE_BYTES + 8 * len(weight.constant.name)
        return weight.constant.nbytes - elements * self.bits // 8 - 4 * groups - around

    def _form(self, model: Model, weights: list[ModelWeight], ctx: Context) -> str:
        """The form of MatMul weights; measured only with matmul=auto."""
        if self.matmul == "folded" or not any(weight.is_matmul for weight in weights):
            return "folded"
        obstacle = self._raise_for_dequantize(model.clone())
        if obstacle is not None:
            if self.matmul == "dequantize":
                ctx.skip("the model", f"its MatMuls get the folded form: {obstacle}")
            return "folded"
        if self.matmul == "dequantize":
            return "dequantize"
        models = {form: model.clone() for form in ("folded", "dequantize")}
        for form, candidate in models.items():
            self._store(candidate, ctx, form)
        times = ctx.judge.speed(models)
        form = "dequantize" if is_faster(times["dequantize"], times["folded"]) else "folded"
        ctx.notes["matmul"] = form
        return form

    def _raise_for_dequantize(self, model: Model) -> str | None:
        return raise_opset(model, BLOCKS_OPSET if self.bits == 4 or self.block else SCALES_OPSET)

    def _store(self, model: Model, ctx: Context, form: str) -> int:
        if form == "dequantize":
            self._raise_for_dequantize(model)
        weights = self._worthwhile(model, ctx, report=False)
        with ctx.progress("round weights", len(weights)) as advance:
            for weight in weights:
                self._store_one(model, weight, form)
                advance()
        edit.sweep(model)
        return len(weights)

    def _store_one(self, model: Model, weight: ModelWeight, form: str) -> None:
        # Without 4-bit tensors two integers share a byte, so an odd number of them is stored in 8 bits.
        is_odd = weight.constant.values.size % 2 == 1 and model.opset < NIBBLES_OPSET
        bits = 8 if is_odd else self.bits
        stored = self._rounded(weight, bits)
        constant, holder = lifted(model, *weight.readers[0])
        write = decode.write_folded
        if form == "dequantize" and weight.is_matmul:
            write = decode.write_dequantized
        write(model, constant, holder, stored, bits)

    def _rounded(self, weight: ModelWeight, bits: int) -> Stored:
        values = weight.constant.values
        stored = blocked(values, weight.kept, bits, self.block) if self.block else None
        return stored or per_channel(values, weight.kept, bits)


def _silent(node: Node, why: str) -> None:
    """Reasons are reported once, at the first look at the weights."""
