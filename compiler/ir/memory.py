"""Results of analyses, kept until the model changes or is dropped."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Protocol, Self, TypeVar
from weakref import WeakKeyDictionary

from onnx_compress.compiler.ir.model import Model, State, Twin


class Analysis(Protocol):
    """Something computed from a model, such as its channel groups. `of` must not change the model."""

    @classmethod
    def of(cls, model: Model) -> Self:
        """Compute it."""
        ...


A = TypeVar("A", bound=Analysis)
R = TypeVar("R")


class Memory:
    """Analyses by model, and results by what a model is; both are gone with the last model they belong to."""

    def __init__(self) -> None:
        self._analyses: WeakKeyDictionary[Model, tuple[State, dict[type, Any]]] = WeakKeyDictionary()
        self._results: WeakKeyDictionary[State, dict[Hashable, Any]] = WeakKeyDictionary()
        self._twins: WeakKeyDictionary[Model, Twin] = WeakKeyDictionary()

    def analysis(self, model: Model, kind: type[A]) -> A:
        """The analysis of the model as it is now: computed once, or translated from the model it is a copy of."""
        state, known = self._analyses.get(model, (None, {}))
        if state is not model.state:
            known = {}
            self._analyses[model] = model.state, known
        if kind not in known:
            known[kind] = self._made(model, kind)
        return known[kind]  # type: ignore[no-any-return]

    def _made(self, model: Model, kind: type[A]) -> A:
        twin = self._twins.get(model)
        if twin is None or twin.source.state is not model.state:
            return kind.of(model)
        return twin.of(self.analysis(twin.source, kind))

    def result(self, model: Model, key: Hashable, make: Callable[[], R]) -> R:
        """What `make` gives, made once for a model and its unchanged copies; it must hold no node or tensor.

        `key` names it and everything else that it depends on.
        """
        known = self._results.setdefault(model.state, {})
        if key not in known:
            known[key] = make()
        return known[key]  # type: ignore[no-any-return]

    def twin(self, model: Model) -> Model:
        """A copy of the model whose analyses are translated from it while neither changes; see `release`."""
        made = model.twin()
        self._twins[made.model] = made
        return made.model

    def release(self, copied: Model) -> None:
        """Forget what a model was copied from, which is kept alive until then."""
        self._twins.pop(copied, None)
