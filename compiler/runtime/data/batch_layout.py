"""Which inputs of a model hold a batch of samples, and how many samples go into one run.

An input *holds a batch* if its first axis counts samples; any other input is *whole*: a sample is the entire array
(a scalar sampling rate, a recurrent state). The declared shapes decide:

1. If any first dimension is free (named or unknown), the inputs with a free first dimension hold a batch.
2. If all are fixed, the first input with an axis sets the batch B, and all inputs with the first dimension B hold a
   batch of exactly B samples: the last run is padded and its results are cut.
3. A free first dimension that does not count samples makes its input whole: if its name is also a later dimension
   of some input (`ids[N, T]`, `positions[T]`; `mask[T, T]`), or if a name like 'batch' or 'N' follows it
   (`frames[T, batch, 80]`). A dimension with such a name always counts samples.

A model without a batch, or with a whole input of free size (a state `[2, N, 128]`, whose size depends on the batch),
runs one sample at a time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.runtime.specs import Dim, TensorSpec

_BATCH = re.compile(r"(?i)(n|b|bs|batch.*|.*batch_?size)$")


@dataclass(frozen=True)
class BatchLayout:
    """How samples go into the inputs of a model.

    `batched` names the inputs that hold a batch; `fixed` is the required number of samples per run, None if it may
    vary; `single` says that samples run one at a time.
    """

    inputs: tuple[TensorSpec, ...]
    batched: frozenset[str]
    fixed: int | None
    single: bool

    @classmethod
    def of(cls, inputs: Sequence[TensorSpec]) -> BatchLayout:
        """The layout that the declared shapes imply."""
        fronts = [(spec, _front(spec)) for spec in inputs if spec.shape != ()]
        free = [spec for spec, front in fronts if not isinstance(front, int)]
        batch = None if free or not fronts else fronts[0][1]
        behind = {dim for spec in inputs for dim in (spec.shape or ())[1:] if isinstance(dim, str)}
        chosen = [spec for spec in free if _counts_samples(spec, behind)]
        chosen += [spec for spec, front in fronts if not free and front == batch]
        batched = frozenset(spec.name for spec in chosen)
        whole = [spec for spec in inputs if spec.name not in batched]
        single = not batched or any(spec.shape is None or not _is_fixed(spec.shape) for spec in whole)
        return cls(tuple(inputs), batched, batch if batched and isinstance(batch, int) else None, single)

    def run_size(self, wanted: int) -> int:
        """Samples per run if the caller wants `wanted`."""
        if self.single:
            return 1
        return self.fixed or max(1, wanted)

    def padded(self, feeds: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
        """`feeds` of `count` samples, padded by repeating the last one to the required number."""
        if self.fixed is None or count == self.fixed:
            return dict(feeds)
        rows = np.minimum(np.arange(self.fixed), count - 1)
        return {name: array[rows] if name in self.batched else array for name, array in feeds.items()}

    def cut(self, outputs: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
        """`outputs` of a padded run without the padding, where their first axis is the batch."""
        if self.fixed is None or count == self.fixed:
            return dict(outputs)
        return {name: a[:count] if a.shape[:1] == (self.fixed,) else a for name, a in outputs.items()}


def _front(spec: TensorSpec) -> Dim:
    return spec.shape[0] if spec.shape else None


def _is_fixed(shape: Sequence[Dim]) -> bool:
    return all(isinstance(dim, int) for dim in shape)


def _counts_samples(spec: TensorSpec, behind: set[str]) -> bool:
    """Rule 3 for an input with a free first dimension; `behind` holds the names of all later dimensions."""
    front = _front(spec)
    if isinstance(front, str) and _BATCH.match(front):
        return True
    if front in behind:
        return False
    return not any(isinstance(dim, str) and _BATCH.match(dim) for dim in (spec.shape or ())[1:])
