"""The order of the training rows, epoch after epoch, in a pickle that does not grow with them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np


class Order:
    """scikit-learn's order of the rows: each epoch shuffles that of the epoch before.

    A pickle has only the generator as it was before the first epoch, and how often it was asked: from these the order
    comes again when it is needed. Where somebody else has drawn from the generator between two calls, it begins anew.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._index: np.ndarray | None = np.arange(rows)
        self._first: np.random.RandomState | None = None
        self._after = b""  # the generator's state at the end of the last call
        self._shuffles = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_index": None}

    def index(self) -> np.ndarray:
        """The numbers of the rows ``(rows,)`` in the order as it is."""
        if self._index is None:
            self._index, again = np.arange(self.rows), copy.deepcopy(self._first)
            for _ in range(self._shuffles):
                self._index = self._index[_permutation(again, self.rows)]
        return self._index

    def begin(self, generator: np.random.RandomState) -> None:
        """Go on from the call before, if its end is where the generator still is."""
        if _state(generator) != self._after:
            self._index, self._first, self._shuffles = np.arange(self.rows), copy.deepcopy(generator), 0

    def shuffle(self, generator: np.random.RandomState) -> None:
        """Go on to the next epoch's."""
        self._index = self.index()[_permutation(generator, self.rows)]
        self._shuffles += 1

    def end(self, generator: np.random.RandomState) -> None:
        """Note where the generator is, for the next call."""
        self._after = _state(generator)

    def copy(self) -> Order:
        """One that goes on by itself."""
        made = Order(0)
        vars(made).update(vars(self))  # its arrays are replaced, never written to
        return made


def _permutation(generator: Any, rows: int) -> np.ndarray:
    permutation = np.arange(rows)
    generator.shuffle(permutation)  # as sklearn.utils.shuffle does, whose checks take longer
    return permutation


def _state(generator: np.random.RandomState) -> bytes:
    return pickle.dumps(generator.get_state(legacy=False))
