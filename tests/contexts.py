"""What passes are given in tests: the executor's own context, and a judge that answers the same on every machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnx_compress.compiler.ir.graph import Constant
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.pipeline.base import Effect, Pass
from onnx_compress.compiler.pipeline.context import Context
from onnx_compress.compiler.pipeline.execute import Executor, Terms
from onnx_compress.compiler.pipeline.recipe import LayerRule, Step
from onnx_compress.compiler.pipeline.settings import Settings
from onnx_compress.compiler.runtime.data.dataset import Dataset, load
from onnx_compress.compiler.runtime.data.synthetic import synthetic
from onnx_compress.compiler.runtime.specs import specs
from onnx_compress.compiler.runtime.timing.layer_times import Forms
from tests.behaviour import Feeds, feeds_for, relative_error, run

SAMPLES = 16
STEP = 16
"""Channels that kernels take at a time, as with AVX-512."""
MS_PER_BYTE = 1e-3


def nothing(model: Model) -> float:
    """No loss, whatever the model."""
    return 0.0


def by_name(**ms: float) -> Callable[[str, Model], float]:
    """The time of candidates by their names, 1 where a name is not given."""
    return lambda name, model: ms.get(name, 1.0)


def by_bytes(name: str, model: Model) -> float:
    return MS_PER_BYTE * (1 + model.weight_bytes())


def layers_by_bytes(model: Model) -> dict[str, float]:
    """The time of each layer by the bytes of its own weights."""
    return {
        node.layer_name(): MS_PER_BYTE
        * max(1, sum(tensor.nbytes for tensor in node.inputs if isinstance(tensor, Constant)))
        for node in model.graph.nodes
    }


@dataclass
class FakeJudge:
    """A judge that answers the same on every machine.

    A model loses the points that `loses` says, by default what its outputs really differ from those of `reference`,
    in percent of their norm. `takes` gives the milliseconds of a candidate from its name and model, `layers` those of
    each layer of a model, both by default from the bytes of the weights.
    """

    reference: Model
    max_drop: float = 1.0
    loses: Callable[[Model], float] | None = None
    takes: Callable[[str, Model], float] = by_bytes
    layers: Callable[[Model], dict[str, float]] = layers_by_bytes
    measured: list[Model] = field(default_factory=list)
    """The models whose loss was requested."""
    timed: list[Feeds | None] = field(default_factory=list)
    """What the models ran on, at each request for their speed."""

    def drop(self, model: Model) -> float:
        self.measured.append(model)
        if self.loses is not None:
            return self.loses(model)
        feeds = feeds_for(self.reference)
        return 100 * relative_error(run(self.reference, feeds), run(model, feeds))

    def speed(self, models: Mapping[str, Model], feeds: Feeds | None = None) -> Mapping[str, float]:
        self.timed.append(feeds)
        return {name: self.takes(name, model) for name, model in models.items()}

    def layer_times(self, forms: Forms, advance: Callable[[], object]) -> list[dict[str, float]]:
        return [self.layers(forms.build(i)) for i in range(len(forms.widths))]

    def channel_step(self) -> int:
        return STEP


def context(
    item: Pass,
    model: Model,
    original: Model | None = None,
    *,
    data: Mapping[str, np.ndarray] | Dataset | None = None,
    judge: FakeJudge | None = None,
    exclude: tuple[str, ...] = (),
    overrides: Sequence[tuple[str, Mapping[str, Any]]] = (),
    settings: Settings | None = None,
) -> Context:
    """What the executor gives to `item` when it runs on `model` itself; `original` is what the model came from.

    Synthetic data pass for real where `item` repairs: such passes refuse others. An EXACT pass gets data only where a
    test gives them, since it must leave models whole that no runtime can run.
    """
    settings = settings or Settings(exclude=exclude)
    original = original or model.clone()
    if data is None and item.effect is not Effect.EXACT:
        data = synthetic(original, samples=SAMPLES, seed=settings.seed)
        data.source.real = item.repairs
    elif data is not None and not isinstance(data, Dataset):
        data = load(data, specs(original).inputs)
    step = Step(item, tuple(LayerRule(match, options) for match, options in overrides))
    terms = Terms(judge or FakeJudge(original, settings.budget))
    return Executor(original, data, settings).context(model, step, terms)
