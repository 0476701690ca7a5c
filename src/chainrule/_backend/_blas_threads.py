"""How many threads NumPy's BLAS has: one, while all products are small.

The threads of a BLAS split a product and then wait for each other, turning round. If another process has the core that
one of them needs, the others wait for the scheduler: a step of a fifth of a millisecond takes eighty.

It is one number for the whole process, so it is counted who is inside:

* The first that has small products sets it to one, and the last that leaves puts back what was there.
* A training with large products keeps all threads, and so does the process while it is inside: neither its numbers nor
  its speed depend on what else is trained or predicted. Small products are then what they are without all this.
* One whose steps are cut into items, which have threads of their own, is as one with small products.
* No number is ever raised. One that is set meanwhile by somebody else, and is not one, stays.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from threading import RLock, local

from ._blas import numpys_blas

# Multiplications in a product. Up to SMALL (128 rows of 128 x 128) a second thread saves a seventh at best; fewer than
# SPLIT no release of OpenBLAS splits, but older ones a matrix times a vector.
SMALL, SPLIT = 2**21, 2**18
_AS_IT_IS = nullcontext()


def one_blas_thread() -> AbstractContextManager[object]:
    """While it lasts, NumPy's BLAS has one thread, unless a training with large products is under way."""
    return _Inside(_counts)


def training_threads(multiplications: int) -> AbstractContextManager[object]:
    """Of a training whose largest product takes so many multiplications."""
    return _Inside(_counts, large=multiplications > SMALL)


def predicting_threads(multiplications: int) -> AbstractContextManager[object]:
    """Of a prediction: those of the training in which it is made, or of its own products."""
    return _Inside(_counts) if SPLIT <= multiplications <= SMALL else _AS_IT_IS


def leave_threads_to_items() -> None:
    """Of the training that this thread is in: its products are taken by threads of ours, each on one of the BLAS's."""
    for inside in getattr(_of_thread, "inside", ()):
        inside.become_small()


def threads_given() -> int | None:
    """How many threads the BLAS has where nobody is inside; None where it does not say."""
    blas = numpys_blas()
    if blas is None or blas.threads is None:
        return None
    with _counts.lock:
        return _counts.before or blas.threads()


class _Counts:
    """How many are inside, and how many threads there were before these became one; else None."""

    def __init__(self) -> None:
        self.lock = RLock()  # a signal's handler may predict
        self.small = self.large = 0
        self.before: int | None = None

    def settle(self) -> None:
        """Give the BLAS the threads that follow from who is inside. A second call makes up for one that broke off."""
        blas = numpys_blas()
        if blas is None or blas.threads is None or blas.set_threads is None:
            return
        threads = blas.threads()
        if self.small > 0 and self.large <= 0:
            if threads > 1 and self.before in (None, threads):
                self.before = threads
                blas.set_threads(1)
        elif self.before is not None:
            if threads == 1:
                blas.set_threads(self.before)
            self.before = None


class _Inside:
    """One that is inside, from the start of a ``with`` to its end, however it ends."""

    __slots__ = ("_counted", "_counts", "_large")

    def __init__(self, counts: _Counts, *, large: bool = False) -> None:
        self._counts, self._large, self._counted = counts, large, False

    def __enter__(self) -> None:
        try:
            self._count(1)
            if self._large:
                vars(_of_thread).setdefault("inside", []).append(self)
        except BaseException:  # Ctrl-C
            self._leave()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            self._leave()
        except BaseException:
            self._leave()
            raise

    def become_small(self) -> None:
        if self._large and self._counted:
            with self._counts.lock:
                self._counts.large, self._counts.small, self._large = (
                    self._counts.large - 1,
                    self._counts.small + 1,
                    False,
                )
                self._counts.settle()

    def _leave(self) -> None:
        self._count(-1 if self._counted else 0)
        inside = getattr(_of_thread, "inside", [])
        if self in inside:
            inside.remove(self)

    def _count(self, more: int) -> None:
        counts = self._counts
        with counts.lock:
            if self._large:
                counts.large += more
            else:
                counts.small += more
            self._counted = more > 0
            counts.settle()


def _begin_anew() -> None:
    """In a forked process, of whose threads only this one is left."""
    global _counts
    before, _counts = _counts, _Counts()
    before.lock, before.small, before.large = RLock(), 0, 0
    before.settle()


_counts, _of_thread = _Counts(), local()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
