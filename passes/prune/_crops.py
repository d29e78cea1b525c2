"""How a convolution changes when zero borders of its kernels are cut off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Crop:
    """The taps cut in front and behind along each spatial axis, and the new `pads`.

    Where the padding does not cover the cut, a Slice removes `front` and `back` elements of the input.
    """

    lead: tuple[int, ...]
    trail: tuple[int, ...]
    pads: tuple[int, ...]
    front: tuple[int, ...]
    back: tuple[int, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is cut."""
        return not any(self.lead + self.trail)

    @property
    def slices(self) -> bool:
        """Whether the input is cropped as well."""
        return any(self.front + self.back)


def zero_borders(kernels: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The widths of the zero borders, in front and behind, of each spatial axis of [a, b, …] over all kernels.

    At least one tap must be non-zero.
    """
    used: np.ndarray = np.asarray(kernels.any((0, 1)))
    axes = range(used.ndim)
    places = [np.flatnonzero(used.any(tuple(other for other in axes if other != axis))) for axis in axes]
    return tuple(int(p[0]) for p in places), tuple(n - 1 - int(p[-1]) for p, n in zip(places, used.shape))


def crop(
    borders: tuple[tuple[int, ...], tuple[int, ...]], pads: tuple[int, ...], dilations: tuple[int, ...], *, slices: bool
) -> Crop:
    """Cut all of `borders`, or without `slices` only as many taps as the padding covers.

    One tap less in front means one dilation less of padding: y[i] = Σ_t w[t] · x[s·i + d·t − p] with t = t' + c
    reads x[s·i + d·t' − (p − d·c)].
    """
    rank = len(dilations)
    lead, trail = borders
    if not slices:
        lead = tuple(min(c, p // d) for c, p, d in zip(lead, pads[:rank], dilations))
        trail = tuple(min(c, p // d) for c, p, d in zip(trail, pads[rank:], dilations))
    rest = [p - d * c for c, p, d in zip(lead + trail, pads, dilations * 2)]
    beyond = tuple(max(0, -r) for r in rest)
    return Crop(lead, trail, tuple(max(0, r) for r in rest), beyond[:rank], beyond[rank:])
