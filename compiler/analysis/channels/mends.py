"""What has to change beside the weights when channels go: integers in shapes, bounds, pads, and attributes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.ir.graph import Node


@dataclass(frozen=True, eq=False)
class Count:
    """Element `position` of the integers at input `where` of `node` (or of its attribute) counts `atoms`.

    `position` None: the attribute is a single number. Literals in `keep` (-1 and 0 of Reshape) follow by
    themselves. `whole` are all atoms of the axis that the number speaks of, where it can also change
    although `atoms` do not (a bound counted from the end).
    """

    node: Node
    where: int | str
    position: int | None
    atoms: np.ndarray
    keep: tuple[int, ...] = ()
    whole: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Sizes:
    """The lengths that a Split cuts its axis into."""

    node: Node
    parts: tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class Renumber:
    """The indices at input `slot` of a Gather point into an axis with these atoms."""

    node: Node
    slot: int
    atoms: np.ndarray


@dataclass(frozen=True, eq=False)
class Freeze:
    """What `node` reads at `slot` is computed from a shape but used as a number: it must keep its value."""

    node: Node
    slot: int
    value: np.ndarray


@dataclass(frozen=True, eq=False)
class Pin:
    """What `node` reads at `slot` is computed from shapes: where those change, it must not follow by itself.

    `values` are the integers as they were, UNKNOWN where they depend on the input.
    """

    node: Node
    slot: int
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Squeezed:
    """`node` is a Squeeze of all axes of one element, `axes`; where `atoms` could become one, it must say which."""

    node: Node
    axes: tuple[int, ...]
    atoms: np.ndarray


Mend = Count | Sizes | Renumber | Freeze | Pin | Squeezed
