"""Time whether a convolution is faster behind a Gather of some input channels, on a model of its surroundings.

onnxruntime computes convolutions in its own layout, in blocks of channels, which a Gather can't read: two layout
conversions surround it. So the layer is timed between depthwise convolutions, which use that layout too:

    s = depthwise(x)    y = conv(Gather(s))    z = depthwise(s)       against       y = conv(s)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx_compress.compiler.ir.graph import Constant, Node
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.ir.text import from_text
from onnx_compress.compiler.pipeline.context import Judge
from onnx_compress.compiler.runtime.timing.latency import is_faster

TYPES = {"float32": "float", "float16": "float16", "float64": "double"}
"""Element types that are timed, with their names in ONNX's text format."""
GEOMETRY = ("pads", "strides", "dilations")


@dataclass(frozen=True)
class Shape:
    """All that a convolution's time depends on: `source` and `weight` are shapes, `geometry` its attributes."""

    source: tuple[int, ...]
    weight: tuple[int, ...]
    dtype: str
    geometry: str

    @classmethod
    def of(cls, node: Node, weight: Constant, source: tuple[int, ...]) -> Shape:
        """The shape of `node`."""
        found = [f"{name}: ints = {list(node.attrs[name])}" for name in GEOMETRY if name in node.attrs]
        if "auto_pad" in node.attrs:
            found.append(f'auto_pad: string = "{node.attrs["auto_pad"]}"')
        return cls(source, tuple(weight.stored.shape), np.dtype(weight.stored.dtype).name, ", ".join(found))

    def narrowed(self, channels: int, results: int) -> Shape:
        """The same with fewer channels read and computed."""
        source = (self.source[0], channels, *self.source[2:])
        return replace(self, source=source, weight=(results, channels, *self.weight[2:]))

    def place(self, kept: int | None) -> Model:
        """The layer in its surroundings, behind a Gather of `kept` channels unless None."""
        channels, one = self.source[1], [1] * (len(self.source) - 2)
        out, taps = self.weight[0], list(self.weight[2:])
        element = TYPES[self.dtype]
        depthwise = f"Conv <group: int = {channels}>"
        weights = [f"{element}{[channels, 1, *one]} a", f"{element}{[channels, 1, *one]} b"]
        source, lines = "s", [f"h = {depthwise} (x, a)", "s = Relu (h)"]
        if kept is not None:
            # Every n-th channel: the mean distance of the chosen ones.
            indices = ", ".join(map(str, np.arange(kept) * channels // kept))
            weights.append(f"int32[{kept}] alive = {{{indices}}}")
            lines.append("g = Gather <axis: int = 1> (s, alive)")
            source = "g"
        weights.append(f"{element}{[out, kept or channels, *taps]} w")
        attributes = f" <{self.geometry}>" if self.geometry else ""
        lines += [f"y = Conv{attributes} ({source}, w)", f"z = {depthwise} (s, b)"]
        results = ", ".join(
            f"{element}[{', '.join(f'{name}{i}' for i in range(2 + len(taps)))}] {name}" for name in "yz"
        )
        head = f"place ({element}{list(self.source)} x) => ({results})"
        return from_text(
            f'<ir_version: 8, opset_import: ["" : 17]>\n{head}\n<{", ".join(weights)}>\n{{ {" ".join(lines)} }}'
        )


def paying(shape: Shape, counts: Sequence[int], judge: Judge) -> tuple[list[int], float]:
    """The numbers of channels for which a Gather pays, and the least time of all relative to no Gather."""
    if not counts:
        return [], 1.0
    models = {"none": shape.place(None), **{str(count): shape.place(count) for count in counts}}
    feeds = {"x": np.random.default_rng(0).standard_normal(shape.source).astype(shape.dtype)}
    times = judge.speed(models, feeds)
    chosen = [count for count in counts if is_faster(times[str(count)], times["none"])]
    return chosen, min(times[str(count)] for count in counts) / times["none"]
