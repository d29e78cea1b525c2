import time

import numpy as np

from onnx_compress.compiler.analysis.channels.atoms import UNMARKED, Atoms, connected


def by_flooding(count, edges):
    labels = list(range(count))
    changed = True
    while changed:
        changed = False
        for a, b in edges:
            low = min(labels[a], labels[b])
            changed |= labels[a] != low or labels[b] != low
            labels[a] = labels[b] = low
    return labels


def test_components_are_those_of_flooding():
    rng = np.random.default_rng(0)
    for count, edges in ((1, 0), (30, 10), (50, 60), (200, 150)):
        left, right = rng.integers(0, count, (2, edges))
        assert connected(count, left, right).tolist() == by_flooding(count, list(zip(left, right)))


def test_a_long_chain_in_any_order_is_fast():
    count = 300_000
    left = np.random.default_rng(1).permutation(count - 1)
    started = time.perf_counter()
    assert not connected(count, left, left + 1).any()
    assert time.perf_counter() - started < 5


def test_marks_hold_for_the_whole_set_and_the_first_reason_counts():
    atoms = Atoms()
    a, b, c = atoms.new(3), atoms.new(3), atoms.new(3)
    atoms.unite(a, b)
    atoms.fix(b[1:], "first")
    atoms.fix(a, "second")
    atoms.couple(b, "norm")
    sets = atoms.settle()
    assert sets.roots.tolist() == [0, 1, 2, 0, 1, 2, 6, 7, 8]
    assert [sets.why_fixed(r) for r in (0, 1, 2)] == ["second", "first", "first"]
    assert sets.why_coupled(0) == "norm"
    assert sets.fixed[c].tolist() == [UNMARKED] * 3
    assert sets.why_coupled(6) is None


def test_uniting_broadcasts():
    atoms = Atoms()
    grid = atoms.new(6).reshape(2, 3)
    atoms.unite(grid[:, :1], grid[:, 1:])
    assert atoms.settle().roots.tolist() == [0, 0, 0, 3, 3, 3]
