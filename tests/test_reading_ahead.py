"""Sources of rows and the thread that reads ahead: one thread for each, none where there can be none, and Ctrl-C."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextvars import ContextVar, copy_context
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule._kernels import with_providers

RNG = np.random.default_rng(6)
X = RNG.normal(size=(320, 3)).astype("float32")
Y = X[:, 0] * X[:, 1]
PARTS = [slice(i, i + 32) for i in range(0, 320, 32)]
ON = with_providers(cr.backend("numpy"), fast=False)  # batches of no known number would have Numba's loops
SETTINGS: dict[str, Any] = {"loss": "squared_error", "epochs": 3, "backend": ON}


def plain() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for part in PARTS:
        yield X[part], Y[part]


def fit(given: Any, *more: Any, **settings: Any) -> cr.Model:
    return cr.fit(cr.mlp([3, 4, 1]), given, *more, **SETTINGS | settings)


@cache
def wanted() -> cr.Model:
    return fit(plain)


def same(model: cr.Model) -> bool:
    return np.array_equal(model.theta, wanted().theta) and model.history["loss"] == wanted().history["loss"]


# ------------------------------------------------------------------------------------------------------------- threads


def test_an_iterator_lives_in_one_thread_from_its_first_batch_to_its_end() -> None:
    seen: list[list[int]] = []
    before = set(threading.enumerate())  # a test of a source that blocks leaves it to its thread

    def batches() -> Iterator[Any]:
        seen.append([threading.get_ident()])
        try:
            for batch in plain():
                seen[-1].append(threading.get_ident())
                yield batch
        finally:
            seen[-1].append(threading.get_ident())

    class Breaks:
        def on_step_end(self, run: Any) -> None:
            if (run.epoch, run.step) == (3, 4):
                raise OSError("of a callback")

    with pytest.raises(OSError, match="of a callback"):
        fit(batches, callbacks=[Breaks()])
    assert len(seen) == 4, "one that was looked at before, and three epochs"
    assert all(len(set(threads)) == 1 for threads in seen)
    assert [len(threads) for threads in seen[:3]] == [3, 12, 12], "begun, each batch, closed"
    assert len(seen[3]) in (6, 7), "four steps, and the fifth batch if it was begun"
    new = set(threading.enumerate()) - before
    assert not [thread for thread in new if thread.name.startswith("chainrule")]


def table() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (a real, b real, c real, y real)")
    connection.executemany("insert into t values (?, ?, ?, ?)", np.hstack([X, Y[:, None]]).tolist())
    return connection


def rows_of(connection: sqlite3.Connection) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    cursor = connection.execute("select * from t order by rowid")
    while rows := cursor.fetchmany(32):
        found = np.asarray(rows, "f4")
        yield found[:, :3], found[:, 3]


def test_a_cursor_that_is_made_with_the_batches_is_read_ahead() -> None:
    def batches() -> Iterator[Any]:
        connection = table()
        try:
            yield from rows_of(connection)
        finally:
            connection.close()

    assert same(fit(batches))


class Cursor:
    """Batches from a connection that was made by whoever made this."""

    def __init__(self) -> None:
        self.connection, self.gone_through = table(), 0

    def __iter__(self) -> Iterator[Any]:
        yield from rows_of(self.connection)
        self.gone_through += 1


@pytest.mark.parametrize("kind", ["object", "function"])
def test_a_cursor_of_the_caller_is_read_in_the_callers_thread(kind: str) -> None:
    source = Cursor()
    with pytest.warns(
        UserWarning, match="batches can only be read in the thread that trains .ProgrammingError: SQLite"
    ) as seen:
        model = fit(source if kind == "object" else lambda: rows_of(source.connection))
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert same(model)
    assert source.gone_through == (3 if kind == "object" else 0)
    np.testing.assert_array_equal(model.predict(rows_of(source.connection)), model.predict(plain()))


def test_rows_of_the_callers_thread_are_read_there() -> None:
    here = threading.get_ident()

    class Bound:
        shape, dtype = X.shape, X.dtype

        def __getitem__(self, part: slice) -> np.ndarray:
            if threading.get_ident() != here:
                raise sqlite3.ProgrammingError("made in another thread")
            return X[part]

    with pytest.warns(
        UserWarning, match="X can only be read in the thread that trains .ProgrammingError: made in"
    ) as seen:
        model = fit(Bound(), Y, shuffle=False, batch_size=32)
    assert len(seen) == 1
    assert same(model)


def test_a_thread_bound_source_that_fails_later_is_told_so_beside_its_own_error() -> None:
    source = Cursor()

    def batches() -> Iterator[Any]:
        yield X[:32], Y[:32]
        yield from source

    with pytest.raises(sqlite3.ProgrammingError, match="SQLite objects created in a thread") as caught:
        fit(batches)
    assert "must be made where the batches are" in caught.value.__notes__[0]


class SourceError(Exception):
    """An error of the source's own."""


@pytest.mark.parametrize("after", [0, 1, 2, 5])
@pytest.mark.parametrize("error", [SourceError("it"), OSError(5, "it"), StopIteration("it"), SystemExit("it")])
def test_an_error_of_a_source_passes_as_it_is(error: BaseException, after: int) -> None:
    fails: list[bool] = []

    def batches() -> Iterator[Any]:
        for number, batch in enumerate(plain()):
            if number == after and (fails or after):
                raise error
            yield batch

    class Fails:
        def on_train_begin(self, run: Any) -> None:
            fails.append(True)

    kind = RuntimeError if isinstance(error, StopIteration) else type(error)  # Python's own rule for generators
    with pytest.raises(kind) as caught:
        fit(batches, callbacks=[Fails()])
    assert caught.value is error or caught.value.__cause__ is error
    assert "batches" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def test_a_source_that_worked_and_fails_is_not_begun_again() -> None:
    begun: list[int] = []

    def batches() -> Iterator[Any]:
        begun.append(1)
        if len(begun) == 3:
            raise OSError("the disk is gone for a moment")
        yield from plain()

    with pytest.raises(OSError, match="for a moment"):
        fit(batches)
    assert len(begun) == 3


def test_a_function_that_ends_an_iteration_by_mistake_ends_no_training() -> None:
    begun: list[int] = []

    def make() -> Iterator[Any]:
        begun.append(1)
        return plain() if len(begun) < 3 else next(iter([]))  # StopIteration, not out of a generator

    with pytest.raises(RuntimeError, match="StopIteration"):
        fit(make)


def test_a_source_sees_the_context_of_the_training() -> None:
    sign: ContextVar[float] = ContextVar("sign", default=-1.0)

    def batches() -> Iterator[Any]:
        for x, y in plain():
            yield x * np.float32(sign.get()), y

    def train() -> cr.Model:
        sign.set(1.0)
        return fit(batches)

    assert same(copy_context().run(train))


def test_where_no_thread_can_start_nothing_is_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slices:
        shape, dtype = X.shape, X.dtype

        def __getitem__(self, part: slice) -> np.ndarray:
            return X[part]

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    want = wanted()
    monkeypatch.setattr(threading.Thread, "start", start)
    assert same(fit(plain))
    assert same(fit(Slices(), Y, shuffle=False, batch_size=32))
    np.testing.assert_allclose(want.predict(plain()), want.predict(X), rtol=0, atol=1e-6)


# -------------------------------------------------------------------------------------------------------------- Ctrl-C

SCRIPT = """
import sys, threading, time, warnings
import numpy as np, chainrule as cr
kind, blocks_at, threads = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "threads"
X = np.random.default_rng(0).normal(size=(320, 3)).astype("f4")
Y = X[:, 0]
given = []

def wait():
    given.append(1)
    if len(given) == blocks_at:
        print("ready", flush=True)
        threading.Event().wait()

def batches():
    for i in range(0, 320, 32):
        wait()
        yield X[i : i + 32], Y[i : i + 32]

class Slices:
    shape, dtype = X.shape, X.dtype
    def __getitem__(self, part):
        wait()
        return X[part]

if not threads:
    def start(self):
        raise RuntimeError("can't start new thread")
    threading.Thread.start = start
from chainrule._data.streams import _windows
_windows.WINDOW_BYTES = 8 * 3 * 32
class Slow:
    def on_step_end(self, run):
        if kind == "step" and run.step == 2:
            print("ready", flush=True)
            time.sleep(0.5)  # the signal comes while a step is in flight and the source blocks
settings = dict(loss="squared_error", epochs=3, callbacks=[Slow()])
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    try:
        if kind == "predict":
            cr.fit(cr.mlp([3, 1]), X, Y, loss="squared_error", epochs=1).predict(batches)
        elif kind == "slices":
            model = cr.fit(cr.mlp([3, 1]), Slices(), Y, batch_size=32, shuffle=False, **settings)
        else:
            model = cr.fit(cr.mlp([3, 1]), batches, **settings)
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
    else:
        print(len(model.history), *[str(w.message) for w in seen])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
@pytest.mark.parametrize(
    ("kind", "blocks_at", "threads", "presses", "says"),
    [
        ("batches", 2, "threads", 1, "0 interrupted in epoch 1, step 0: the model so far is returned."),
        ("batches", 5, "threads", 1, "0 interrupted in epoch 1, step 3: the model so far is returned."),
        ("batches", 15, "threads", 1, "1 interrupted in epoch 2, step 3: the model so far is returned."),
        ("step", 5, "threads", 1, "0 interrupted in epoch 1, step 2: the model so far is returned."),
        ("slices", 1, "threads", 1, "0 interrupted in epoch 1, step 0: the model so far is returned."),
        ("slices", 14, "threads", 1, "1 interrupted in epoch 2, step 3: the model so far is returned."),
        ("batches", 1, "threads", 1, "KeyboardInterrupt"),  # before training
        ("batches", 5, "no threads", 2, "KeyboardInterrupt"),
        ("slices", 4, "no threads", 2, "KeyboardInterrupt"),
        ("predict", 4, "threads", 1, "KeyboardInterrupt"),
    ],
)
def test_ctrl_c_ends_the_wait_for_a_source_that_blocks(
    kind: str, blocks_at: int, threads: str, presses: int, says: str
) -> None:
    command = [sys.executable, "-c", SCRIPT, kind, str(blocks_at), threads]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for _ in range(presses):
                process.send_signal(signal.SIGINT)
                if presses > 1:
                    time.sleep(0.3)  # two signals at once are one
            out, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out.strip()) == (0, says), errors


@pytest.mark.parametrize("at", [1, 4, 11, 12, 20])
def test_a_wait_that_was_broken_off_is_gone_on_with(at: int, tmp_path: Path) -> None:
    goes_on, given = threading.Event(), 0

    def batches() -> Iterator[Any]:
        nonlocal given
        for batch in plain():
            yield batch
            given += 1
            if given == at + 1:  # the first was looked at before
                time.sleep(0.3)  # the training waits by then
                signal.raise_signal(signal.SIGINT)
                goes_on.wait()

    with pytest.warns(cr.InterruptedTraining, match="the model so far is returned"):
        model = fit(batches, checkpoint=tmp_path)
    goes_on.set()
    assert len(model.history) == at // 10
    assert same(fit(plain, checkpoint=cr.Checkpoint(tmp_path, resume=True)))


SIGNALLED = """
import signal, threading, time
from chainrule._data.streams import ReadAhead, _ahead
_ahead._LOOK = 0.0005  # as often as the signals
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
begun = time.monotonic()
assert not list(ReadAhead("X").through(lambda: iter(threading.Event().wait, 0), lambda: time.monotonic() - begun > 1.5))
signal.setitimer(signal.ITIMER_REAL, 0)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals by the clock are POSIX's")
def test_a_wait_that_signals_break_into_ends_when_it_is_asked_to() -> None:
    """A signal at the very end of a timeout makes SimpleQueue.get wait for ever."""
    subprocess.run([sys.executable, "-c", SIGNALLED], timeout=60, check=True)
