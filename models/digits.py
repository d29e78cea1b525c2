"""Train the embedded demo model: a small residual net on scikit-learn's digits.

    python models/digits.py --out models/

writes `digits.onnx`, `digits_train.npz` (calibration data) and `digits_test.npz` (held out from training), and
reports the accuracy of the exported file in onnxruntime. It takes about a minute on one CPU thread, and writes the
same bytes each time on one machine.
"""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import click
import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

SEED = 0
TEST, CALIBRATION = 597, 512
"""Number of images held out from training, and of the 1,200 others that are written to the calibration file."""
EPOCHS, BATCH, LEARNING_RATE = 60, 64, 2e-3
LEVELS = 16.0
"""Maximum grey level; levels are 0 to 16."""

Pictures = tuple[np.ndarray, np.ndarray]
"""uint8 [count, 1, 8, 8] and int64 [count] labels."""


def _conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


class Block(nn.Module):
    """relu(shortcut + two 3×3 convolutions); the shortcut is a 1×1 projection if the shape changes."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(c_in, c_out, stride=stride)
        self.conv2 = _conv(c_out, c_out)
        self.shortcut = nn.Identity() if c_in == c_out else _conv(c_in, c_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.shortcut(x))


class DigitsNet(nn.Module):
    """From grey levels 0 … 16, [N, 1, 8, 8], to logits [N, 10]; the scaling is part of the net."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(1, 32)
        self.blocks = nn.Sequential(Block(32, 32, 1), Block(32, 32, 1), Block(32, 64, 2))
        self.head = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.stem(image / LEVELS)))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


def split() -> tuple[Pictures, Pictures]:
    """Training and test images, by a fixed permutation of the data set."""
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    images = digits.images.astype(np.uint8)[order, None]
    labels = digits.target.astype(np.int64)[order]
    return (images[TEST:], labels[TEST:]), (images[:TEST], labels[:TEST])


def train(pictures: Pictures) -> DigitsNet:
    """Train: cross-entropy, smoothed labels, AdamW, one-cycle learning rate, images shifted by up to one pixel."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # a fixed order of summation
    torch.use_deterministic_algorithms(True)
    rng = np.random.default_rng(SEED)
    net = DigitsNet()
    optimizer = torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=0.02)
    steps = EPOCHS * (len(pictures[0]) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        _epoch(net, pictures, optimizer, schedule, rng)
    return net.eval()


def _epoch(
    net: DigitsNet,
    pictures: Pictures,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    rng: np.random.Generator,
) -> None:
    images, labels = pictures
    order = rng.permutation(len(images))
    for i in range(len(images) // BATCH):
        chosen = order[i * BATCH : (i + 1) * BATCH]
        logits = net(torch.from_numpy(_shifted(images[chosen], rng)))
        loss = F.cross_entropy(logits, torch.from_numpy(labels[chosen]), label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image shifted by -1, 0 or 1 pixel in both directions, as float32."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    moves = rng.integers(0, 3, (len(images), 2))
    moved = [picture[:, y : y + 8, x : x + 8] for picture, (y, x) in zip(padded, moves)]
    return np.stack(moved).astype(np.float32)


def export(net: DigitsNet) -> onnx.ModelProto:
    """The ONNX model, with BatchNormalization nodes and a dynamic batch N."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # This exporter is deprecated, and warns about weights that training would change; training is over.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "It is recommended that constant folding be turned off")
        torch.onnx.export(
            net,
            (torch.zeros(2, 1, 8, 8),),
            stream,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,  # inference mode would fold BatchNormalization
            opset_version=17,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        )
    return onnx.load_from_string(stream.getvalue())


def correct(model: onnx.ModelProto, pictures: Pictures) -> int:
    """Number of images classified correctly in onnxruntime."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": pictures[0].astype(np.float32)})
    return int((logits.argmax(1) == pictures[1]).sum())


def describe(model: onnx.ModelProto, right: int) -> None:
    """Add documentation and metadata to the model."""
    properties = {
        "classes": json.dumps([str(digit) for digit in range(10)]),
        "preprocess": "none: grey levels from 0 to 16 as they are; the graph divides by 16",
        "test_accuracy": f"{right}/{TEST}",
    }
    onnx.helper.set_model_props(model, properties)


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="folder to write to")
def main(out: Path) -> None:
    training, test = split()
    model = export(train(training))
    right = correct(model, test)
    describe(model, right)
    onnx.checker.check_model(model, full_check=True)
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(model, out / "digits.onnx")
    np.savez_compressed(out / "digits_train.npz", image=training[0][:CALIBRATION], labels=training[1][:CALIBRATION])
    np.savez_compressed(out / "digits_test.npz", image=test[0], labels=test[1])
    click.echo(f"{right} of {TEST} held-out pictures are classified correctly: {100 * right / TEST:.2f} %")


if __name__ == "__main__":
    main()
