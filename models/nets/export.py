"""Export a torch module to ONNX with the exporters that users have."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import onnx
import torch
from torch import nn

from models.nets.catalog import NetSignature


class Exporter(StrEnum):
    """The exporter that writes the graph.

    ============== ==================================================================================
    torchscript    traced; BatchNormalization kept, equal tensors shared through Identity nodes
    torchscript-eval  traced like most published files: BatchNormalization folded if it follows a Conv
    dynamo         torch.export and onnxscript's optimizer: BatchNormalization folded, metadata on each node
    dynamo-raw     torch.export without the optimizer: BatchNormalization kept
    ============== ==================================================================================
    """

    TORCHSCRIPT = "torchscript"
    TORCHSCRIPT_EVAL = "torchscript-eval"
    DYNAMO = "dynamo"
    DYNAMO_RAW = "dynamo-raw"


def export(module: nn.Module, net: NetSignature, exporter: Exporter, opset: int) -> onnx.ModelProto:
    """Export `module` in eval mode, with the dynamic axes of `net`."""
    example = tuple(torch.from_numpy(array) for array in net.feeds(batch=2).values())
    with _quiet():
        if exporter in (Exporter.DYNAMO, Exporter.DYNAMO_RAW):
            return _dynamo(module, net, example, opset, optimize=exporter is Exporter.DYNAMO)
        return _torchscript(module, net, example, opset, fold=exporter is Exporter.TORCHSCRIPT_EVAL)


def _torchscript(
    module: nn.Module, net: NetSignature, example: tuple[torch.Tensor, ...], opset: int, *, fold: bool
) -> onnx.ModelProto:
    stream = io.BytesIO()
    mode = torch.onnx.TrainingMode.EVAL if fold else torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(
        module,
        example,
        stream,
        dynamo=False,
        training=mode,
        opset_version=opset,
        input_names=[i.name for i in net.inputs],
        output_names=list(net.outputs),
        dynamic_axes={i.name: i.dynamic for i in net.inputs} | {name: {0: "N"} for name in net.outputs},
    )
    return onnx.load_from_string(stream.getvalue())


def _dynamo(
    module: nn.Module, net: NetSignature, example: tuple[torch.Tensor, ...], opset: int, *, optimize: bool
) -> onnx.ModelProto:
    dims = {name: torch.export.Dim(name) for i in net.inputs for name in i.dynamic.values()}
    program = torch.onnx.export(
        module,
        example,
        dynamo=True,
        optimize=optimize,
        verbose=False,
        opset_version=opset,
        input_names=[i.name for i in net.inputs],
        output_names=list(net.outputs),
        dynamic_shapes=tuple({axis: dims[name] for axis, name in i.dynamic.items()} for i in net.inputs),
    )
    return program.model_proto


KNOWN_WARNINGS = (
    (DeprecationWarning, ""),  # the TorchScript exporter is deprecated
    (FutureWarning, ""),  # torch.export about its own internals
    (UserWarning, "It is recommended that constant folding be turned off"),  # concerns only weights in training
    (UserWarning, "Constant folding - Only steps=1"),
    (UserWarning, "ONNX export mode is set to TrainingMode.EVAL, but operator 'instance_norm'"),
    (UserWarning, "The tensor attributes self.cell._flat_weights"),
    (UserWarning, "Exporting a model to ONNX with a batch_size other than 1"),  # tested at other batches here
)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporters' known warnings; the new exporter also logs that torchvision is missing."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category, message in KNOWN_WARNINGS:
                warnings.filterwarnings("ignore", message, category)
            # Size checks inside torch's own layers; a branch on traced values in our nets stays an error.
            warnings.filterwarnings("ignore", category=torch.jit.TracerWarning, module=r"torch\.nn\.")
            yield
    finally:
        log.setLevel(level)
