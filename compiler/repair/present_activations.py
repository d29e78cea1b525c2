"""The inputs of a model's layers, one layer after another, while those layers are being changed.

All values that cross a cut in front of a layer are kept for all samples, and the next layer's inputs are computed
from there. So refitting every layer costs one run of the model over the data, not one per layer. Where the values
at a cut would take too much memory, the earlier cut stays and the nodes from there on are run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx

from onnx_compress.compiler.ir.extract import Declared, ancestors, extract, reads
from onnx_compress.compiler.ir.graph import Constant, Node, Tensor, Variable
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.runtime.data.dataset import Dataset
from onnx_compress.compiler.runtime.outputs import Arrays, Recording
from onnx_compress.compiler.runtime.session import Session, create

Goal = tuple[Node, Sequence[Variable]]

CUT_BYTES = 1 << 30
"""Most bytes of values to keep at a cut, mainly in a temporary file."""


class Prefix:
    """A model's values over `data`, in runs of `batch` samples.

    `goals` lists the calls of `batches` to come, in the order of the nodes. Between two calls weights may change,
    except in front of the earlier call's node.
    """

    def __init__(self, model: Model, data: Dataset, batch: int, goals: Iterable[Goal]) -> None:
        self._model = model
        self._data = data
        self._batch = batch
        self._position = {node: i for i, node in enumerate(model.graph.nodes)}
        self._static = static_values(model)
        self._last: dict[Tensor, int] = {}
        """The position of each value's last reader."""
        goals = list(goals)
        for node in ancestors(model.graph, [tensor for _, needs in goals for tensor in needs]):
            self._note(node, reads(node))
        for node, needs in goals:
            self._note(node, needs)
        self._cut: Recording | None = None
        self._held: list[Variable] = list(model.inputs())

    def _note(self, node: Node, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            self._last[tensor] = max(self._last.get(tensor, 0), self._position[node])

    def batches(self, node: Node, needs: Sequence[Variable], *, stay: bool = False) -> Iterator[Arrays]:
        """The values `needs`, computed in front of `node`, for each batch, including the rows that pad it.

        With `stay` the cut is not moved, so that weights in front of `node` may still change.
        """
        crossing = [] if stay else self._crossing(node)
        kept: Recording | None = None if stay or self._is_at(crossing) else Recording()
        session: Session | None = None
        names = {tensor.name for tensor in (*crossing, *needs)}
        for held in self._runs():
            missing = sorted(names - held.keys())
            if missing and session is None:
                session = self._session(held, (*crossing, *needs))
            arrays = {**held, **(session.run(held, missing) if missing and session else {})}
            if kept is not None and not self._keep(kept, crossing, arrays):
                kept = None
            yield {tensor.name: arrays[tensor.name] for tensor in needs}
        if kept is not None:
            self._cut, self._held = kept, crossing

    def _crossing(self, node: Node) -> list[Variable]:
        """The values computed in front of `node` that it or a later node needs."""
        here = self._position[node]
        made = [t for t in self._model.inputs() if t not in self._static]
        for other in self._model.graph.nodes[:here]:
            made += [out for out in other.outputs if out not in self._static and isinstance(out, Variable)]
        return [tensor for tensor in made if tensor.name and self._last.get(tensor, -1) >= here]

    def _is_at(self, crossing: Sequence[Variable]) -> bool:
        return self._cut is not None and self._held == list(crossing)

    def _runs(self) -> Iterator[Arrays]:
        if self._cut is not None:
            yield from self._cut
            return
        for run in self._data.runs(self._batch):
            yield run.feeds

    def _session(self, held: Arrays, wanted: Sequence[Variable]) -> Session:
        inputs = {tensor: _declared(held[tensor.name]) for tensor in self._held}
        computed = [tensor for tensor in dict.fromkeys(wanted) if tensor.name not in held]
        return create(extract(self._model, inputs, computed))

    def _keep(self, kept: Recording, crossing: Sequence[Variable], arrays: Arrays) -> bool:
        """Append the values at the cut; False if they can't be kept or would take too much memory."""
        found = {tensor.name: arrays.get(tensor.name) for tensor in crossing}
        present = {name: array for name, array in found.items() if array is not None and array.dtype.kind in "fiub"}
        runs = -(-len(self._data) // self._batch)
        if len(present) < len(found) or sum(array.nbytes for array in present.values()) * runs > CUT_BYTES:
            return False
        kept.append(present)
        return True


def static_values(model: Model) -> set[Tensor]:
    """The values of the main graph that depend on no input: weights, also those decoded by nodes, shapes."""
    static: set[Tensor] = set(model.graph.initializers)
    defaults = {tensor for tensor in model.graph.inputs if isinstance(tensor, Constant)}
    static -= defaults
    for node in model.graph.nodes:
        if any(True for _ in node.bodies()) or node.op.startswith("Random"):
            continue
        if all(tensor in static or not tensor.name for tensor in node.inputs):
            static.update(node.outputs)
    return static


def _declared(array: np.ndarray) -> Declared:
    return onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.ndim
