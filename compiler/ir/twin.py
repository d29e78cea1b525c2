"""A copy of a model, and what was said of the model, said of the copy."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from onnx_compress.compiler.ir.graph import Graph, Node, Tensor

if TYPE_CHECKING:
    from onnx_compress.compiler.ir.model import Model

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Twin:
    """`model` is an independent copy of `source`; `tensors` maps each tensor of the source to the copy's.

    The source must not change while things are translated.
    """

    source: Model
    model: Model
    tensors: Mapping[Tensor, Tensor]

    @cached_property
    def nodes(self) -> Mapping[Node, Node]:
        """The copy's node for each node of the source, those of bodies included."""
        return dict(zip(self.source.nodes(), self.model.nodes(), strict=True))

    def of(self, thing: T) -> T:
        """The same thing said of the copy: a node, a tensor, or whatever is made of them.

        A plan, a layer, a group: frozen data in which every node, tensor and graph of the source is replaced by the
        copy's, and everything else is copied.
        """
        return copy.deepcopy(thing, dict(self._known))

    @cached_property
    def _known(self) -> Mapping[int, Any]:
        """What `deepcopy` finds instead of copying, by the identity of the source's object."""
        graphs: dict[Graph, Graph] = dict(zip(self.source.graphs(), self.model.graphs(), strict=True))
        pairs = (*self.nodes.items(), *self.tensors.items(), *graphs.items(), (self.source, self.model))
        return {id(old): new for old, new in pairs}
