"""The base class of passes: a frozen dataclass whose fields are its options, with one method.

The one declaration of an option (`ratio: float | None = option(None, "share of MACs to remove")`) feeds the
constructor, the specification on the command line, recipes, `--help`, the reference and the report. `CONTRIBUTING.md`
has two complete passes, which the tests run.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from onnx_compress.compiler.errors import UsageError
from onnx_compress.compiler.pipeline.options import OptionInfo, option, options_of

if TYPE_CHECKING:
    from onnx_compress.compiler.ir.model import Model
    from onnx_compress.compiler.pipeline.context import Context

__all__ = ["RATIOS", "Effect", "Pass", "Saving", "option"]

RATIOS = tuple(round(0.05 * k, 2) for k in range(1, 19))
"""Ratios that a search for an open strength tries: finer steps are below the noise of a few hundred samples."""


class Effect(enum.Enum):
    """The effect of a pass on the outputs, which decides when it may run."""

    EXACT = "exact"
    """Outputs stay within 1e-5 of their scale; may run without being requested."""
    LOSSY = "lossy"
    """Outputs change; the loss is measured and judged by the budget."""
    RETRAIN = "retrain"
    """Weights are trained; needs the `[retrain]` extra."""


class Saving(enum.Enum):
    """The objective of a search for an open strength."""

    TIME = "time"
    """The measured time of the result."""
    BYTES = "bytes"
    """The bytes of its file, for a pass that does not change the speed."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One small rewrite of the graph. Subclass it, set `name` and `effect`, declare options, write `run`."""

    name: ClassVar[str] = ""
    effect: ClassVar[Effect]
    strength: ClassVar[str | None] = None
    """The option for how strongly to compress. If it is None the strength is open: the budget decides."""
    other_strengths: ClassVar[tuple[str, ...]] = ()
    """Alternatives to `strength`. At most one of them all is given, and then nothing is open."""
    strengths: ClassVar[tuple[float, ...]] = RATIOS
    """The values of `strength` that a search tries, from the weakest to the strongest."""
    saving: ClassVar[Saving] = Saving.BYTES
    """The objective of a search for the open strength."""
    companions: ClassVar[tuple[str, ...]] = ()
    """Passes that a search for the open strength tries in front of this one, each with its own strength."""
    prepares: ClassVar[bool] = False
    """True for a pass that only prepares the next one (regularizing training): the two are judged together."""
    repairs: ClassVar[bool] = False
    """True for refit and retraining: the lossy passes before are judged together with it."""
    stand_in: ClassVar[str | None] = None
    """The specification that a search runs instead of this pass while it compares candidates; None: the pass itself."""
    changes_inputs: ClassVar[bool] = False
    """True if the pass changes the signature of the model on purpose."""
    per_layer: ClassVar[tuple[str, ...]] = ()
    """Options that a recipe may set for single layers: those for which `run` asks `ctx.override`."""

    def __post_init__(self) -> None:
        for info in self.options():
            info.check(getattr(self, info.name), self.name)
        if len(given := self._strengths_given()) > 1:
            raise UsageError(f"{self.name}: {' and '.join(given)} both say how strongly to compress; give one of them")

    def run(self, model: Model, ctx: Context) -> int:
        """Rewrite `model` in place and return the number of changed places; 0 exactly if nothing changed."""
        raise NotImplementedError(f"pass '{self.name}' does not define run()")

    @classmethod
    def options(cls) -> tuple[OptionInfo, ...]:
        """The options in the order of declaration."""
        return options_of(cls)

    def values(self) -> Mapping[str, Any]:
        """The options as set on this instance."""
        return {info.name: getattr(self, info.name) for info in self.options()}

    def ladder(self, model: Model, ctx: Context) -> Sequence[float]:
        """Those of `strengths`, or values between them, that give different results for this model."""
        return self.strengths

    def at(self, value: float, *, saving: Saving) -> Self:
        """The pass with one of `strengths`, in a search for `saving`."""
        assert self.strength is not None
        return self.with_options(**{self.strength: value})

    def settled(self, notes: Mapping[str, Any]) -> tuple[Self, Sequence[str]]:
        """The pass with the choices of an earlier run, whose `notes` these are, and the layers that it left alone.

        A search runs this while it compares candidates. By default every run chooses for itself.
        """
        return self, ()

    def is_open(self) -> bool:
        """Whether the strength is left to the budget."""
        return self.strength is not None and not self._strengths_given()

    def is_given(self) -> bool:
        """Whether the user set the strength, so that it is kept even if it costs more than the default budget."""
        return bool(self._strengths_given())

    def _strengths_given(self) -> list[str]:
        names = self.other_strengths if self.strength is None else (self.strength, *self.other_strengths)
        return [f"'{name}'" for name in names if getattr(self, name) is not None]

    def with_options(self, **changes: Any) -> Self:
        """A copy with some options changed."""
        return dataclasses.replace(self, **changes)
