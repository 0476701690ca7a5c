"""Reading ahead: an iterator is gone through by a thread of its own, one item ahead of who takes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from contextvars import Context, copy_context
from itertools import chain
from queue import Empty, Queue
from typing import Generic, NamedTuple, TypeVar

from ..._base.errors import ChainruleError, warn

Item = TypeVar("Item")
_LOOK = 0.1  # seconds between two looks at whether what is waited for is still wanted
_PATIENCE = 5  # looks at a source that is to end
_BOUND = (
    "It was raised in the thread that reads ahead: what can only be used in the thread that made it, as a connection "
    "of sqlite3, must be made where the batches are, in the function or the __iter__ that gives them."
)


class ReadAhead(Generic[Item]):
    """Goes through iterators, each of them in one thread, which makes an item while the caller uses the one before.

    Where there are no threads, and where the first item fails in another thread than the caller's, which is said once,
    the items are made in the caller's when they are asked for.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._here = self._elsewhere = False  # where items are known to come
        self._context = copy_context()  # a source reads its context variables as if it were asked here

    def through(self, make: Callable[[], Iterator[Item]], stop: Callable[[], bool]) -> Generator[Item]:
        """The items of the iterator that ``make`` makes; what it raises is raised here.

        Ends early where ``stop`` becomes true while an item is waited for. A source that does not come back then, or
        after a KeyboardInterrupt, is left to its thread, which holds up neither the caller nor the end of Python.
        """
        errand = _Errand(make, self._context.copy())
        if self._here or not errand.begin():
            yield from make()
            return
        try:
            while (made := errand.take(stop)) is not None:
                if made.error is not None:
                    yield from self._after(made.error, make)
                    return
                self._elsewhere = True
                errand.go_on()
                yield made.item
                made = None  # it may be as large as a window, and the next one is made before it is taken
        finally:
            errand.end(stop)

    def _after(self, error: BaseException, make: Callable[[], Iterator[Item]]) -> Iterator[Item]:
        """All items from this thread, if the first one comes here; or raise the error."""
        source = error.__cause__ if isinstance(error, ChainruleError) else error  # a complaint of ours has no cause
        items = _begun(make) if isinstance(source, Exception) and not self._elsewhere else None
        if items is None:
            if source is error:
                with suppress(Exception):  # it may take no attributes
                    error.add_note(_BOUND)
            try:
                raise error
            finally:
                del error, source  # or they would hold this frame, and the frame them
        self._here = True
        reason = " ".join(str(source).split())
        warn(
            f"{self._what} can only be read in the thread that trains ({type(source).__name__}: {reason}): nothing is "
            "read ahead.",
            UserWarning,
        )
        return items


class _Made(NamedTuple, Generic[Item]):
    item: Item
    error: BaseException | None = None


class _Errand(Generic[Item]):
    """A thread that goes through an iterator, one item further each time that it is told to."""

    def __init__(self, make: Callable[[], Iterator[Item]], context: Context) -> None:
        # No SimpleQueue: a signal that meets the end of its timeout makes its get wait for ever.
        self._wanted, self._made = threading.Semaphore(), Queue[_Made[Item] | None]()
        self._ended = self._left = False
        self._thread = threading.Thread(
            target=context.run, args=(self._run, make), name="chainrule-reader", daemon=True
        )

    def begin(self) -> bool:
        """Start at the first item; False where the machine has no thread left, or none at all (Python in a browser)."""
        try:
            self._thread.start()
        except RuntimeError:
            return False
        return True

    def _run(self, make: Callable[[], Iterator[Item]]) -> None:
        """In the thread: it makes the iterator and lets go of it, so all that the source does is done here."""
        try:
            self._wanted.acquire()
            for item in make():
                self._made.put(_Made(item))
                del item
                self._wanted.acquire()
                if self._ended:
                    return
            self._made.put(None)
        except BaseException as error:
            self._made.put(_Made(None, error))  # type: ignore[arg-type]

    def take(self, stop: Callable[[], bool]) -> _Made[Item] | None:
        """What was made; None for the end, or when ``stop`` becomes true before."""
        try:
            while True:
                try:
                    return self._made.get(timeout=_LOOK)
                except Empty:
                    if stop():
                        return None
        except BaseException:  # of a signal's handler
            self._left = True
            raise

    def go_on(self) -> None:
        """Make the next item."""
        self._wanted.release()

    def end(self, stop: Callable[[], bool]) -> None:
        """Let go of the source once it has made what it is at; not for long if ``stop`` is true, or left before."""
        self._ended, looks = True, 0
        self._wanted.release()
        while self._thread.is_alive() and not self._left and looks < _PATIENCE:
            self._thread.join(_LOOK)
            looks += stop()


def _begun(make: Callable[[], Iterator[Item]]) -> Iterator[Item] | None:
    """The iterator at its first item, here; None if that fails here too."""
    try:
        items = make()
        return chain([next(items)], items)
    except Exception:
        return None
