"""Random weights similar to those of a trained net, from NumPy's seeded generator."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import nn

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
NORMS = (*BATCH_NORMS, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)


def randomize(module: nn.Module, name: str, seed: int, *, fresh: bool) -> None:
    """Overwrite every parameter and running statistic of `module`, in order of registration.

    Normalizations get scales in ±[0.5, 1.5] (one in eight negative), shifts and means around 0 and variances in
    [0.5, 2], so that a pass that forgets one of them when folding or pruning changes the outputs. Convolutions are
    scaled for ReLU (He), linear and recurrent weights by 1/√fan-in. With `fresh`, normalizations stay unchanged
    and biases become 0.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    for child in module.modules():
        if isinstance(child, NORMS):
            if not fresh:
                _norm(child, rng)
        elif isinstance(child, nn.PReLU):
            _set(child.weight, rng.uniform(0.1, 0.4, child.weight.shape))
        else:
            _weights(child, rng, fresh)


def _norm(norm: nn.Module, rng: np.random.Generator) -> None:
    for key, tensor in [*norm.named_parameters(), *norm.named_buffers()]:
        shape = tuple(tensor.shape)
        if key == "weight":
            _set(tensor, rng.uniform(0.5, 1.5, shape) * np.where(rng.random(shape) < 1 / 8, -1, 1))
        elif key in ("bias", "running_mean"):
            _set(tensor, rng.normal(0, 0.3, shape))
        elif key == "running_var":
            _set(tensor, rng.uniform(0.5, 2, shape))


def _weights(module: nn.Module, rng: np.random.Generator, fresh: bool) -> None:
    gain = 2.0 if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)) else 1.0
    for key, tensor in module.named_parameters(recurse=False):
        shape = tuple(tensor.shape)
        if key.endswith("scale"):
            _set(tensor, rng.uniform(0.5, 1.5, shape))
        elif isinstance(module, nn.Embedding):
            _set(tensor, rng.normal(0, 1, shape))
        elif len(shape) == 1 or "bias" in key:
            _set(tensor, np.zeros(shape) if fresh else rng.normal(0, 0.1, shape))
        else:
            _set(tensor, rng.normal(0, np.sqrt(gain / _fan_in(module, shape)), shape))


def _fan_in(module: nn.Module, shape: tuple[int, ...]) -> float:
    """Number of products summed into one output; a transposed convolution has its inputs on axis 0."""
    if not isinstance(module, nn.ConvTranspose2d):
        return float(np.prod(shape[1:]))
    return shape[0] / module.groups * float(np.prod(shape[2:])) / float(np.prod(module.stride))


def _set(tensor: torch.Tensor, values: np.ndarray) -> None:
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.asarray(values, dtype=np.float32)))
