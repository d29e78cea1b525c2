"""The changes besides weights that removing channels needs: integers in shapes, bounds, pads, and attributes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_compress.compiler.ir.graph import Node


@dataclass(frozen=True, eq=False)
class Count:
    """Element `position` of the integers at input `where` of `node` (or of its attribute) counts `atoms`.

    `position` None: the attribute is a single number. Literals in `keep` (-1 and 0 of Reshape) stay valid unchanged.
    `whole` are all atoms of the axis, given if the number can change although `atoms` do not (a bound counted from
    the end).
    """

    node: Node
    where: int | str
    position: int | None
    atoms: np.ndarray
    keep: tuple[int, ...] = ()
    whole: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Sizes:
    """The lengths of the parts into which a Split cuts its axis."""

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
    """The input of `node` at `slot` is computed from a shape but used as a number: it must keep its value."""

    node: Node
    slot: int
    value: np.ndarray


@dataclass(frozen=True, eq=False)
class Pin:
    """The input of `node` at `slot` is computed from shapes; if those change, it must not change by itself.

    `values` are the integers before the change, UNKNOWN where they depend on the input.
    """

    node: Node
    slot: int
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Squeezed:
    """`node` is a Squeeze of all one-element axes, `axes`; if `atoms` can shrink to one, it must list them."""

    node: Node
    axes: tuple[int, ...]
    atoms: np.ndarray


Mend = Count | Sizes | Renumber | Freeze | Pin | Squeezed
