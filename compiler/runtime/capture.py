"""Activations: the values of a model's inner tensors over a dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.compiler.runtime.outputs import Arrays, batch_size
from onnx_compress.compiler.runtime.session import Session, create
from onnx_compress.compiler.runtime.specs import ModelLike, as_model


class Capture:
    """The tensors `names` of a model, read batch by batch over any dataset.

    The model itself is unchanged: only onnxruntime sees the names as additional outputs, so it does not fuse them
    away. Inputs of the graph may be named too. Raises ModelError, with the reason, for a name without a value at the
    top level of the graph.
    """

    def __init__(self, model: ModelLike, names: Sequence[str], *, threads: int = 1) -> None:
        loaded = as_model(model)
        for name in names:
            _check(loaded, name)
        inputs = {tensor.name for tensor in loaded.graph.inputs}
        given = {tensor.name for tensor in loaded.outputs()}
        self.names = tuple(dict.fromkeys(names))
        self._computed = [name for name in self.names if name not in inputs]
        extra = [name for name in self._computed if name not in given]
        self._session: Session = create(loaded, threads=threads, outputs=extra)

    def batches(self, dataset: Dataset, size: int | None = None) -> Iterator[Arrays]:
        """The tensors for each batch of at most `size` samples (None: chosen for the model), by name.

        One batch is in memory at a time. Rows that only pad a batch of fixed size are cut off.
        """
        size = batch_size(self._session, dataset) if size is None else size
        for batch in dataset.runs(size):
            found = self._session.run(batch.feeds, self._computed)
            found.update({name: batch.feeds[name] for name in self.names if name in batch.feeds})
            yield dataset.layout.cut({name: found[name] for name in self.names}, batch.count)


def _check(model: Model, name: str) -> None:
    graph = model.graph
    if any(constant.name == name for constant in graph.initializers):
        raise ModelError(f"'{name}' is a weight: it has one value, not one per sample")
    tops = {out.name for node in graph.nodes for out in node.outputs} | {t.name for t in graph.inputs}
    if name in tops:
        return
    for node in model.nodes():
        if any(out.name == name for out in node.outputs):
            raise ModelError(f"'{name}' is in the body of a control-flow node: onnxruntime can't output it")
    raise ModelError(f"the model has no tensor '{name}'")
