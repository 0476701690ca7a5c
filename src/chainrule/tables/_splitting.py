"""Rows are held out by chance, and every class keeps its share: the same rows for the same seed, on every machine."""

from __future__ import annotations

import math

import numpy as np

from .._base.errors import DataError, require
from .._random import host_generator


def split(
    n: int, y: np.ndarray | None = None, *, fraction: float, seed: int, stratify: bool = False, part: str = "test"
) -> tuple[np.ndarray, np.ndarray]:
    """(the rest, held out): two disjoint ascending index arrays that together are 0..n-1.

    ``round(fraction n)`` rows are held out, at least one and never all (none where ``fraction`` is 0).

    Args:
        n: how many rows there are.
        y: their classes ``(n,)``, which ``stratify`` needs; default none.
        fraction: of the rows to hold out, in [0, 1).
        seed: the same seed holds out the same rows, on every machine.
        stratify: whether each class of ``y`` gives its share, rounded by the largest remainder, and keeps at least one
            row; default no.
        part: what the rows are held out for, so that a test and a validation part are drawn independently; default
            ``"test"``.

    Raises:
        ConfigurationError: ``fraction`` is not in [0, 1). DataError: one row to split; ``stratify`` without n labels.

    Example:
        >>> rest, held_out = split(10, fraction=0.2, seed=0)
        >>> len(rest), len(held_out)
        (8, 2)
    """
    require(0 <= fraction < 1, f"the fraction of rows to hold out must be in [0, 1), got {fraction}.")
    if fraction > 0 and n < 2:
        raise DataError(f"holding out rows for the {part} part needs at least 2 rows, got {n}.")
    count = 0 if fraction == 0 else min(max(1, math.floor(fraction * n + 0.5)), n - 1)
    draw = host_generator(seed, "split", part, n)
    if stratify and count:
        if y is None or len(y) != n:
            raise DataError(f"a stratified split needs {n:,} labels, got {'none' if y is None else f'{len(y):,}'}.")
        chosen = _stratified(draw, np.unique(y, return_inverse=True)[1], count)
    else:
        chosen = draw.permutation(n)[:count]
    outside = np.zeros(n, bool)
    outside[chosen] = True
    return np.flatnonzero(~outside), np.flatnonzero(outside)


def _stratified(draw: np.random.Generator, classes: np.ndarray, count: int) -> np.ndarray:
    sizes = np.bincount(classes)
    shares = _largest_remainder(sizes, count)
    parts = [
        draw.permutation(np.flatnonzero(classes == c))[:share] for c, share in enumerate(shares.tolist()) if share > 0
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _largest_remainder(sizes: np.ndarray, count: int) -> np.ndarray:
    """How many rows each class gives: floor(count size / n), then one more where the remainder is largest.

    No class gives its last row, so fewer than ``count`` can come out where many classes have one row.
    """
    shares, remainders = np.divmod(sizes * count, sizes.sum())  # count < n, so each share is below its class's size
    for c in np.argsort(-remainders, kind="stable"):
        if shares.sum() < count and shares[c] < sizes[c] - 1:
            shares[c] += 1
    return shares
