"""Print the time of a convolution behind a Gather that keeps 3/4, 1/2 and 1/4 of its channels, relative to all.

    python -m models.measure.gather

The convolutions are the first ones of residual branches: of ResNet-20 for CIFAR-10, and of ResNet-18 and ResNet-50 for
224×224 images. Times are measured as `prune-channels:gather=true` measures them, at batch 1 with one thread.
"""

from __future__ import annotations

import numpy as np

from onnx_compress.compiler.runtime.session import create
from onnx_compress.compiler.runtime.timing import latency
from onnx_compress.passes.prune._gather.speed import Shape

PLACES = {
    "ResNet-20": [(16, 16, 3, 32), (32, 32, 3, 16), (64, 64, 3, 8)],
    "ResNet-18": [(64, 64, 3, 56), (128, 128, 3, 28), (256, 256, 3, 14), (512, 512, 3, 7)],
    "ResNet-50": [(256, 64, 1, 56), (512, 128, 1, 28), (1024, 256, 1, 14), (2048, 512, 1, 7)],
}
"""Input and output channels, kernel size, map size."""
SHARES = (0.75, 0.5, 0.25)


def row(net: str, channels: int, results: int, kernel: int, size: int) -> str:
    """One line of the table."""
    source, weight = (1, channels, size, size), (results, channels, kernel, kernel)
    shape = Shape(source, weight, "float32", f"pads: ints = {[kernel // 2] * 4}")
    models = {0.0: shape.place(None), **{share: shape.place(int(share * channels)) for share in SHARES}}
    sessions = {str(share): create(model) for share, model in models.items()}
    feeds = {"x": np.random.default_rng(0).standard_normal(source).astype(np.float32)}
    times = latency.interleaved(sessions, feeds)
    wide = times["0.0"]
    ratios = " | ".join(f"{latency.ratio(times[str(share)], wide).median:.2f}×" for share in SHARES)
    return f"| {net} | {kernel}×{kernel}, {channels} → {results} | {size}×{size} | {wide.median_ms:.3f} ms | {ratios} |"


def main() -> None:
    """Print the table."""
    print("| net | convolution | map | time | " + " | ".join(f"{share:g}" for share in SHARES) + " |")
    print("|---|---|---|---|" + "---|" * len(SHARES))
    for net, places in PLACES.items():
        for place in places:
            print(row(net, *place), flush=True)


if __name__ == "__main__":
    main()
