"""Which form each weight of a graph gets, and which weights share one program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onnx_compress.compiler.storage import stack
from onnx_compress.compiler.storage.choose import FORMS, cheapest
from onnx_compress.compiler.storage.form import Form
from onnx_compress.compiler.storage.program import Program
from onnx_compress.compiler.storage.stack import Member
from onnx_compress.passes.encode._names import Names


@dataclass(frozen=True, eq=False)
class Planned:
    """A program and the weights that come out of it, in order."""

    program: Program
    members: tuple[Member, ...]


def plan(weights: Sequence[Member], opset: int, names: Names, form: str | None) -> list[Planned]:
    """The forms of the fewest bytes for the weights of one graph; one that would save too little is in none.

    With `form` each weight has this one or stays. Small weights are decoded together where that is smaller.
    """
    allowed = FORMS if form is None else tuple(one for one in FORMS if one.name == form)
    agreed = set(names.known)
    made = []
    # The largest first: it pays for what all share.
    for member in sorted(weights, key=lambda member: -member.weight.values.nbytes):
        program = _single(member, opset, names, allowed)
        if program is not None:
            names.add(program)
            made.append(Planned(program, (member,)))
    place = {member: i for i, member in enumerate(weights)}
    made.sort(key=lambda one: place[one.members[0]])
    for kind in stack.FORMS:
        made = _with_stack(made, kind, opset, names, frozenset(agreed))
    return made


def _single(member: Member, opset: int, names: Names, forms: tuple[Form, ...]) -> Program | None:
    while True:
        known = frozenset(names.known)
        found = cheapest(member.weight, member.name, member.base, opset, free=names.free, known=known, forms=forms)
        if found is None or names.agree(found):
            return found


def _with_stack(made: list[Planned], kind: str, opset: int, names: Names, known: frozenset[str]) -> list[Planned]:
    """The plan with those weights of one form joined whose joining saves most, if any does.

    A weight of many distinct values makes the symbols of all wider, so they are joined up to some number of them.
    """
    singles = [one for one in made if one.program.form == kind and stack.can_join(one.members[0].weight)]
    best, least = made, _bytes(made, known)
    for most in sorted({one.members[0].distinct for one in singles}):
        joined = [one for one in singles if one.members[0].distinct <= most]
        size = sum(one.members[0].weight.size for one in joined)
        if len(joined) < 2 or size > stack.TOGETHER:
            continue
        members = tuple(one.members[0] for one in joined)
        program = stack.stacked(members, kind, opset, names.free)
        if not names.agree(program):
            continue
        rest = [Planned(program, members) if one is joined[0] else one for one in made]
        tried = [one for one in rest if one not in joined]
        if _bytes(tried, known) < least:
            best, least = tried, _bytes(tried, known)
    return best


def _bytes(made: Iterable[Planned], known: frozenset[str]) -> int:
    """Bytes of all programs together, what they share once, without what the graph has anyway."""
    written, total = set(known), 0
    for one in made:
        total += one.program.nbytes(frozenset(written))
        written.update(one.program.shared())
    return total
