"""Running a model in onnxruntime: quiet, single-stream, repeatable, with failures as CompressError."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from onnx_compress.compiler.errors import CompressError, DataError, ModelError
from onnx_compress.compiler.ir.files.ocz_file import is_packed
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.feeds import as_arrays, fitting
from onnx_compress.compiler.runtime.in_memory import hand_over
from onnx_compress.compiler.runtime.ort_errors import explain
from onnx_compress.compiler.runtime.specs import (
    ModelLike,
    Signature,
    TensorSpec,
    runtime_dtype,
    specs,
)

_FATAL_ONLY = 4
"""Failures are raised as exceptions; onnxruntime's log would repeat them on stderr, in colour."""


class Session:
    """A model loaded in onnxruntime. `inputs` are the required ones, `outputs` all that are available."""

    def __init__(self, loaded: onnxruntime.InferenceSession, signature: Signature) -> None:
        self._loaded = loaded
        self.inputs = signature.inputs
        self.outputs = signature.outputs

    def run(self, feeds: Mapping[str, np.ndarray], names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """The outputs `names` (None: all, in order) for one set of inputs; see `feeds.as_arrays`.

        Raises DataError if `feeds` do not match the inputs, ModelError if a node fails.
        """
        wanted = [spec.name for spec in self.outputs] if names is None else list(names)
        checked = fitting(self.inputs, feeds)
        if not wanted:
            return {}  # to onnxruntime an empty list means all
        try:
            results = self._loaded.run(wanted, checked)
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise _run_error(error) from None
        arrays: dict[str, np.ndarray] = {}
        for name, value in zip(wanted, results, strict=True):
            arrays.update(as_arrays(name, value))
        return arrays

    def runner(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """A function that runs the model on `feeds`, with no other work that would distort a timing."""
        checked, run = fitting(self.inputs, feeds), self._loaded.run
        return lambda: run(None, checked)

    def end_profiling(self) -> Path:
        """Stop the recording that `create(profile=…)` started, and return the file of events."""
        return Path(self._loaded.end_profiling())


def create(
    model: ModelLike,
    *,
    threads: int = 1,
    optimize: bool = True,
    profile: Path | None = None,
    outputs: Sequence[str] = (),
) -> Session:
    """Load a model in onnxruntime, on the CPU.

    Args:
        model: a Model, a message, or the path of a file, packed or not.
        threads: threads within one operator; operators run one after another.
        optimize: whether onnxruntime may fuse and fold; otherwise each node runs as written.
        profile: prefix of the file that records each node's time until `end_profiling`.
        outputs: names of inner values to append to the model's outputs.

    Raises:
        ModelError: naming the node or operator that onnxruntime rejects.
    """
    if isinstance(model, (str, Path)) and is_packed(Path(model)):
        model = Model.load(model)
    signature = specs(model)
    options = _options(threads, optimize=optimize, profile=profile)
    try:
        handover = hand_over(model, outputs)
        if handover.weights:
            options.add_external_initializers(list(handover.weights), list(handover.weights.values()))
        loaded = onnxruntime.InferenceSession(handover.source, options, providers=["CPUExecutionProvider"])
    except CompressError:
        raise
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise ModelError(f"{_name(model)}: onnxruntime can't load it: {explain(error)}") from None
    return Session(loaded, _completed(signature, loaded))


def _options(threads: int, *, optimize: bool, profile: Path | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    # Threads that keep spinning after a run would take the cores from the session timed next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return options


def _name(model: ModelLike) -> str:
    if isinstance(model, (str, Path)):
        return str(model)
    if isinstance(model, Model):
        return str(model.path) if model.path is not None and model.version == 0 else "the model"
    return f"the model '{model.graph.name}'"


def _completed(declared: Signature, loaded: onnxruntime.InferenceSession) -> Signature:
    """The signature, with onnxruntime's types for outputs that declare none, including appended ones."""
    known = {spec.name: spec for spec in declared.outputs if spec.dtype is not None or spec.kind != "tensor"}
    return Signature(declared.inputs, tuple(known.get(o.name) or _found(o) for o in loaded.get_outputs()))


def _found(output: onnxruntime.NodeArg) -> TensorSpec:
    shape = tuple(dim if isinstance(dim, (int, str)) else None for dim in output.shape)
    return TensorSpec(output.name, runtime_dtype(output.type), shape, output.type.partition("(")[0])


def _run_error(error: Exception) -> CompressError:
    reason = explain(error)
    if type(error).__name__ == "InvalidArgument" and not reason.startswith("node "):
        return DataError(f"the inputs do not match the model: {reason}")
    return ModelError(f"the model fails in onnxruntime: {reason}")
