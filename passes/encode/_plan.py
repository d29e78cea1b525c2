"""Choose the form of each weight of a graph, and the weights that share one program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx_compress.compiler.storage.forms import stack
from onnx_compress.compiler.storage.forms.choice import FORMS, cheapest
from onnx_compress.compiler.storage.forms.form import Form
from onnx_compress.compiler.storage.forms.stack import Member
from onnx_compress.compiler.storage.forms.symbols import Packing
from onnx_compress.compiler.storage.program import Program
from onnx_compress.passes.encode._names import StoredNames

FEW = 1 << 13
"""Maximum number of elements of a weight that is tried in a stack of another form than its own."""


@dataclass(frozen=True, eq=False)
class PlannedProgram:
    """A program and the weights it computes, in order."""

    program: Program
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Planner:
    """Plans one graph, whose names are `names`; `known` are the shared names already in its file."""

    opset: int
    names: StoredNames
    known: frozenset[str]

    @classmethod
    def of(cls, opset: int, names: StoredNames) -> Planner:
        """The planner for a graph's present names."""
        return cls(opset, names, frozenset(names.known))

    def plan(self, weights: Sequence[Member], form: str | None) -> list[PlannedProgram]:
        """The smallest form of each weight; a weight that would save too little is left out.

        With `form`, each weight gets this form or none. Small weights are decoded together if that is smaller.
        """
        allowed = FORMS if form is None else tuple(one for one in FORMS if one.name == form)
        made = []
        # The largest first: it pays for the shared parts.
        for member in sorted(weights, key=lambda member: -member.weight.values.nbytes):
            program = self._alone(member, allowed)
            if program is not None:
                self.names.add(program)
                made.append(PlannedProgram(program, (member,)))
        place = {member: i for i, member in enumerate(weights)}
        made.sort(key=lambda one: place[one.members[0]])
        for kind in stack.FORMS if self.opset >= stack.LEAST_OPSET else ():
            made = self._with_stack(made, kind, is_only=form is not None)
        return made

    def _alone(self, member: Member, forms: tuple[Form, ...]) -> Program | None:
        while True:
            known = frozenset(self.names.known)
            found = cheapest(
                member.weight,
                member.name,
                member.base,
                self.opset,
                free=self.names.free,
                known=known,
                forms=forms,
            )
            if found is None or self.names.agree(found):
                return found

    def _with_stack(self, made: list[PlannedProgram], kind: str, *, is_only: bool) -> list[PlannedProgram]:
        """The plan with weights joined in a stack of one form, if that is smaller.

        First the weights of this form up to some number of distinct values, because one weight with many makes all
        symbols wider; then each small weight of another form that makes the total smaller.
        """
        alone = [one for one in made if len(one.members) == 1 and stack.can_join(one.members[0].weight, kind)]
        same = [one for one in alone if one.program.form == kind]
        if not same:
            return made
        best, group = made, same[:1]
        for width in sorted(set(map(_width, same))):
            chosen = [one for one in same if _width(one) <= width]
            best, group = self._smaller(made, best, group, chosen, kind)
        for one in () if is_only else alone:
            if one not in group and one.members[0].weight.size <= FEW:
                best, group = self._smaller(made, best, group, [*group, one], kind)
        return best

    def _smaller(
        self,
        made: list[PlannedProgram],
        best: list[PlannedProgram],
        group: list[PlannedProgram],
        chosen: list[PlannedProgram],
        kind: str,
    ) -> tuple[list[PlannedProgram], list[PlannedProgram]]:
        """The smaller of the best plan so far and the plan with `chosen` joined, and the weights joined in it."""
        tried = self._joined(made, [one for one in made if one in chosen], kind)
        is_smaller = tried is not None and self.nbytes(tried) < self.nbytes(best)
        return (tried, chosen) if tried is not None and is_smaller else (best, group)

    def _joined(
        self, made: list[PlannedProgram], chosen: list[PlannedProgram], kind: str
    ) -> list[PlannedProgram] | None:
        members = tuple(one.members[0] for one in chosen)
        if len(chosen) < 2 or sum(member.weight.size for member in members) > stack.TOGETHER:
            return None
        program = stack.stacked(members, kind, self.opset, self.names.free)
        if not self.names.agree(program):
            return None
        joined = PlannedProgram(program, members)
        replaced = [joined if one is chosen[0] else one for one in made]
        return [one for one in replaced if one not in chosen]

    def nbytes(self, made: list[PlannedProgram]) -> int:
        """Bytes of all programs together; shared parts count once, and parts already in the file not at all."""
        written, total = set(self.known), 0
        for one in made:
            total += one.program.nbytes(frozenset(written))
            written.update(one.program.shared())
        return total


def _width(one: PlannedProgram) -> int:
    """Bits per symbol of a weight, times ten."""
    packing = Packing.best(max(2, one.members[0].distinct), 1 << 16, 0)
    return 10 * packing.bits // packing.per_word
