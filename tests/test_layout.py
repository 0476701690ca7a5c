"""One flat vector: split and join are inverses, and on NumPy splitting costs nothing."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Platform

from chainrule._backend import reference_backend as backend
from chainrule._layout import Layout, Slot, join

HOST = backend("numpy", dtype="float64")
# A layer with a matrix and a vector, one without parameters, one of a single number.
LAYOUT = Layout.of([[(3, 2), (1, 2)], [], [(1, 1)]])
SIZE = 9


def test_pieces_lie_one_after_the_other_without_gaps() -> None:
    assert LAYOUT.size == SIZE
    assert LAYOUT.groups == ((Slot(0, 6, (3, 2)), Slot(6, 8, (1, 2))), (), (Slot(8, 9, (1, 1)),))


@pytest.mark.parametrize("lead", [(), (4,), (2, 3)], ids=str)
def test_join_undoes_split_on_stacks_too(platform: Platform, lead: tuple[int, ...]) -> None:
    flat = np.arange(np.prod(lead, dtype=int) * SIZE, dtype=float).reshape(*lead, SIZE)
    pieces = LAYOUT.split(platform.backend, platform.array(flat))
    assert [len(group) for group in pieces] == [2, 0, 1]
    for got, want in zip([p for group in pieces for p in group], host_pieces(flat), strict=True):
        platform.check(got, want)
    platform.check(join(platform.backend, pieces), flat)


def test_a_compiled_program_splits_and_joins(platform: Platform) -> None:
    flat = np.arange(2.0 * SIZE).reshape(2, SIZE)
    joined = platform.run(
        lambda flat: join(platform.backend, LAYOUT.split(platform.backend, flat)), platform.array(flat)
    )
    platform.check(joined, flat)


@pytest.mark.parametrize("lead", [(), (4,)], ids=str)
def test_pieces_are_views_on_numpy(lead: tuple[int, ...]) -> None:
    flat = np.zeros((*lead, SIZE))
    pieces = [piece for group in LAYOUT.split(HOST, flat) for piece in group]
    assert all(np.shares_memory(piece, flat) for piece in pieces)
    flat += 1.0
    assert all((piece == 1.0).all() for piece in pieces)


def test_joining_copies() -> None:
    flat = np.zeros(SIZE)
    assert not np.shares_memory(join(HOST, LAYOUT.split(HOST, flat)), flat)


def host_pieces(flat: np.ndarray) -> list[np.ndarray]:
    lead = flat.shape[:-1]
    return [flat[..., :6].reshape(*lead, 3, 2), flat[..., 6:8].reshape(*lead, 1, 2), flat[..., 8:].reshape(*lead, 1, 1)]
