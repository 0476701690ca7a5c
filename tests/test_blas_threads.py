"""The threads of NumPy's BLAS: one while all products are small, and what was there before after all that may happen.

Who is inside is counted on a stand-in for a BLAS of eight threads, which may be interrupted at each of its calls; that
NumPy's own obeys is tried on it, as far as it has threads of its own.
"""

from __future__ import annotations

import importlib
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr
from chainrule._backend import _blas, _blas_threads
from chainrule._backend._blas import Blas, numpys_blas
from chainrule._backend._blas_threads import SMALL, SPLIT, one_blas_thread, predicting_threads, training_threads
from chainrule.backpropagation import value_and_gradient
from chainrule.training import Run

RNG = np.random.default_rng(0)
SMALL_NET, LARGE_NET = cr.mlp([8, 16, 2]), cr.mlp([8, 1024, 600, 2])  # a batch of 4 takes 512 and 2,457,600
X, Y = RNG.normal(size=(12, 8)).astype(np.float32), np.arange(12) % 2
BEFORE = 8


class StandIn:
    """A BLAS; its ``at``-th call is interrupted, before or after it has done something."""

    def __init__(self) -> None:
        self.number, self.at, self.late, self.calls = BEFORE, 0, False, 0

    def threads(self) -> int:
        return self._called(lambda: self.number)

    def set_threads(self, number: int) -> None:
        self._called(lambda: setattr(self, "number", number))

    def _called(self, do: Callable[[], Any]) -> Any:
        self.calls += 1
        if self.calls == self.at and not self.late:
            raise KeyboardInterrupt
        done = do()
        if self.calls == self.at:
            raise KeyboardInterrupt
        return done


class LockThatIsInterrupted:
    """Ctrl-C arrives when it has been let go: the last moment inside of a call of ours."""

    def __init__(self, blas: StandIn) -> None:
        self._blas = blas

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._blas._called(lambda: None)


@pytest.fixture
def blas(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn()
    found = Blas("stand-in", "1", "", made.threads, made.set_threads)
    monkeypatch.setattr(_blas_threads, "numpys_blas", lambda: found)
    monkeypatch.setattr(_blas_threads, "_counts", _blas_threads._Counts())
    return made


@pytest.fixture
def numpys() -> Iterator[Blas]:
    """NumPy's own, of two threads whatever the environment says."""
    found = numpys_blas()
    if found is None or found.threads is None or found.set_threads is None:
        pytest.skip("NumPy's BLAS here has no number of threads for the process.")
    before = found.threads()
    found.set_threads(2)
    yield found
    found.set_threads(before)


class Seen:
    """A callback that notes how many threads there are in every step."""

    def __init__(self, threads: Callable[[], int], then: Callable[[], object] = lambda: None) -> None:
        self.threads, self.then = threads, then
        self.numbers: set[int] = set()

    def on_step_end(self, run: Run) -> None:
        self.numbers.add(self.threads())
        self.then()


def train(net: cr.Sequential, *callbacks: Any, **options: Any) -> cr.Model:
    usual = {"loss": "softmax_cross_entropy", "batch_size": 4, "epochs": 1, "callbacks": callbacks, "backend": "numpy"}
    return cr.fit(net, X, Y, **{**usual, **options})


def test_the_first_sets_one_and_the_last_puts_back(blas: StandIn) -> None:
    with one_blas_thread():
        assert blas.number == 1
        with one_blas_thread(), training_threads(SMALL), predicting_threads(SPLIT):
            assert blas.number == 1
        assert blas.number == 1
    assert blas.number == BEFORE


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_whoever_leaves_last_in_whatever_thread(blas: StandIn, order: tuple[int, ...]) -> None:
    entered, leave = threading.Barrier(4), [threading.Event() for _ in range(3)]

    def hold(i: int) -> None:
        with one_blas_thread():
            entered.wait()
            leave[i].wait()

    threads = [threading.Thread(target=hold, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    entered.wait()
    for i in order:
        assert blas.number == 1
        leave[i].set()
        threads[i].join()
    assert blas.number == BEFORE


def test_many_threads_at_once(blas: StandIn) -> None:
    def work() -> None:
        for i in range(300):
            with one_blas_thread() if i % 7 else training_threads(SMALL + 1):
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert blas.number == BEFORE


def test_a_large_training_keeps_all_threads_whoever_came_first(blas: StandIn) -> None:
    with training_threads(SMALL + 1):
        with training_threads(SMALL), predicting_threads(SPLIT), one_blas_thread():
            assert blas.number == BEFORE
        assert blas.number == BEFORE
    small, large = one_blas_thread(), training_threads(SMALL + 1)
    with small:
        with large:
            assert blas.number == BEFORE
        assert blas.number == 1
    assert blas.number == BEFORE


def test_the_small_one_may_leave_before_the_large_one(blas: StandIn) -> None:
    small, large = one_blas_thread(), training_threads(SMALL + 1)
    small.__enter__()
    large.__enter__()
    small.__exit__(None, None, None)
    assert blas.number == BEFORE
    large.__exit__(None, None, None)
    assert blas.number == BEFORE


def test_a_prediction_touches_nothing_that_is_not_split_or_pays(blas: StandIn) -> None:
    for multiplications in (0, SPLIT - 1, SMALL + 1):
        with predicting_threads(multiplications):
            assert blas.number == BEFORE
    assert blas.calls == 0
    with one_blas_thread(), predicting_threads(SMALL + 1):  # a small training's validation
        assert blas.number == 1


def test_fewer_threads_of_the_callers_are_never_raised(blas: StandIn) -> None:
    blas.number = 1
    with one_blas_thread():
        assert blas.number == 1
    with training_threads(SMALL + 1):
        assert blas.number == 1
    assert blas.number == 1
    blas.number = 2
    with one_blas_thread(), training_threads(SMALL + 1):
        assert blas.number == 2
    assert blas.number == 2


def test_what_the_caller_sets_in_the_middle_stays(blas: StandIn) -> None:
    with one_blas_thread():
        blas.number = 4
        with one_blas_thread():
            assert blas.number == 4
    assert blas.number == 4
    with one_blas_thread():
        assert blas.number == 1
    assert blas.number == 4


def test_a_limit_that_ends_in_the_middle_is_met_by_the_next(blas: StandIn) -> None:
    blas.number = 1
    with one_blas_thread():
        blas.number = BEFORE
        with one_blas_thread():
            assert blas.number == 1
    assert blas.number == BEFORE


def test_an_error_puts_back(blas: StandIn) -> None:
    with pytest.raises(ZeroDivisionError), one_blas_thread(), one_blas_thread():
        _ = 1 / 0
    assert blas.number == BEFORE


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("at", range(1, 14))
@pytest.mark.parametrize("outer", ["nobody", "small", "large"])
def test_ctrl_c_at_any_call_puts_back(blas: StandIn, outer: str, at: int, late: bool) -> None:
    _blas_threads._counts.lock = LockThatIsInterrupted(blas)  # type: ignore[assignment]
    around = {
        "nobody": lambda: predicting_threads(0),
        "small": one_blas_thread,
        "large": lambda: training_threads(2**40),
    }
    with around[outer]():
        blas.calls, blas.at, blas.late = 0, at, late
        try:
            with one_blas_thread(), training_threads(2**40):
                pass
        except KeyboardInterrupt:
            pass
        else:
            assert at > blas.calls
        blas.at = 0
        assert blas.number == {"small": 1}.get(outer, BEFORE)
    assert blas.number == BEFORE
    with one_blas_thread():
        assert blas.number == 1
    assert blas.number == BEFORE


def test_a_blas_that_cannot_be_told_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for found in (None, Blas("openblas", "0.3.30", "Zen")):
        monkeypatch.setattr(_blas_threads, "numpys_blas", lambda found=found: found)
        with one_blas_thread(), training_threads(SMALL), training_threads(SMALL + 1):
            pass
        assert train(SMALL_NET).predict(X).shape == (12,)


def test_fit_has_one_thread_and_leaves_what_was_there(numpys: Blas) -> None:
    seen = Seen(numpys.threads)
    model = train(SMALL_NET, seen)
    assert (seen.numbers, numpys.threads()) == ({1}, 2)
    train(model, seen)
    assert (seen.numbers, numpys.threads()) == ({1}, 2)
    train(SMALL_NET, seen, backend=cr.backend("numpy", kernels=False, compile=False))
    assert (seen.numbers, numpys.threads()) == ({1}, 2)


def test_a_wide_network_keeps_its_threads_and_its_bits(numpys: Blas) -> None:
    seen = Seen(numpys.threads, lambda: train(SMALL_NET))
    model = train(LARGE_NET, seen)
    assert (seen.numbers, numpys.threads()) == ({2}, 2)
    np.testing.assert_array_equal(model.theta, train(LARGE_NET).theta)


def test_batches_from_an_iterable_count_by_the_first(numpys: Blas) -> None:
    seen = Seen(numpys.threads)
    cr.fit(SMALL_NET, [(X, Y)], loss="softmax_cross_entropy", callbacks=[seen], epochs=1)
    assert (seen.numbers, numpys.threads()) == ({1}, 2)


def test_torch_has_threads_of_its_own(numpys: Blas) -> None:
    torch = find_library("torch")
    before, seen = torch.get_num_threads(), Seen(numpys.threads)
    train(SMALL_NET, seen, backend="torch")
    assert (seen.numbers, numpys.threads(), torch.get_num_threads()) == ({2}, 2, before)
    seen = Seen(torch.get_num_threads)
    train(SMALL_NET, seen)
    assert seen.numbers == {before}


def test_a_callback_that_raises_and_a_refusal_put_back(numpys: Blas) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(SMALL_NET, Seen(numpys.threads, fail))
    assert numpys.threads() == 2
    with pytest.raises(cr.DataError):
        cr.fit(SMALL_NET, X * np.nan, Y, loss="softmax_cross_entropy")
    assert numpys.threads() == 2


@pytest.mark.skipif(sys.platform == "win32", reason="a process there cannot send itself Ctrl-C")
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_puts_back(numpys: Blas, times: int) -> None:
    def press() -> None:
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)

    if times == 1:
        with pytest.warns(UserWarning, match="interrupted"):
            train(SMALL_NET, Seen(numpys.threads, press))
    else:
        with pytest.raises(KeyboardInterrupt):
            train(SMALL_NET, Seen(numpys.threads, press))
    assert numpys.threads() == 2


def test_a_callers_threadpool_limits_wins(numpys: Blas) -> None:
    limits = find_library("threadpoolctl").threadpool_limits
    seen = Seen(numpys.threads)
    with limits(1, user_api="blas"):
        train(LARGE_NET, seen)
        train(SMALL_NET, seen)
        assert numpys.threads() == 1
    assert (seen.numbers, numpys.threads()) == ({1}, 2)

    class Limited:
        def on_train_begin(self, run: Run) -> None:
            self.limit = limits(3, user_api="blas")

    limited = Limited()
    train(SMALL_NET, limited)
    assert numpys.threads() == 3
    limited.limit.restore_original_limits()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("solver", "rows", "want"), [("adam", 20_000, 1), ("lbfgs", 100, 1), ("lbfgs", 20_000, 2)])
def test_the_estimators_too_by_the_rows_of_their_products(
    numpys: Blas, solver: str, rows: int, want: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_library("sklearn")
    seen, step = set(), value_and_gradient

    def noted(*arguments: Any) -> Any:
        seen.add(numpys.threads())
        return step(*arguments)

    for module in ("training._step", "estimators._lbfgs"):
        monkeypatch.setattr(importlib.import_module(f"chainrule.{module}"), "value_and_gradient", noted)
    wide, labels = np.resize(X, (rows, 64)), np.resize(Y, rows)  # 4,096 rows at a time by 64 x 16
    cr.MLPClassifier((16,), solver=solver, max_iter=1, backend=cr.backend("numpy", compile=False)).fit(wide, labels)
    assert (seen, numpys.threads()) == ({want}, 2)


@pytest.mark.parametrize(("rows", "want"), [(1, 2), (4, 2), (16, 1), (64, 1), (1024, 2)])
def test_a_prediction_has_one_thread_where_two_would_share_a_small_product(numpys: Blas, rows: int, want: int) -> None:
    seen = set()

    def relu(xp: Any, z: Any) -> Any:
        seen.add(numpys.threads())
        return xp.maximum(z, 0.0 * z)

    own = cr.Activation(relu, lambda xp, z: xp.astype(z > 0, z.dtype))
    model = train(cr.Sequential(cr.Dense(8, 256), own, cr.Dense(256, 128), cr.Dense(128, 2)))
    seen.clear()
    x = np.resize(X, (rows, 8))
    for _ in range(3):  # as it is, recorded, replayed
        model.predict(x)
    model.evaluate(x, np.resize(Y, rows))
    assert (seen, numpys.threads()) == ({want}, 2)


def test_a_training_that_is_gone_on_with_has_the_bits_of_one_in_a_go(numpys: Blas, tmp_path: Path) -> None:
    net, rng = cr.mlp([600, 1, 900]), np.random.default_rng(3)  # whose products have other last bits on two threads
    x, y = rng.normal(size=(900, 600)), rng.normal(size=(900, 900))
    options = {"loss": "squared_error", "batch_size": 900, "validation": (x[:870], y[:870])}
    whole = cr.fit(net, x, y, epochs=2, **options)
    cr.fit(net, x, y, epochs=1, checkpoint=tmp_path, **options)
    resumed = cr.fit(net, x, y, epochs=2, checkpoint=cr.Checkpoint(tmp_path, resume=True), **options)
    np.testing.assert_array_equal(resumed.theta, whole.theta)
    assert resumed.history["val_loss"] == whole.history["val_loss"]
    numpys.set_threads(1)  # type: ignore[misc]
    np.testing.assert_array_equal(cr.fit(net, x, y, epochs=2, **options).theta, whole.theta)


FORKED = """
import multiprocessing, os, sys, threading, warnings
import numpy as np, chainrule as cr
from chainrule._backend import _blas_threads
from chainrule._backend._blas import numpys_blas
from chainrule._backend._blas_threads import one_blas_thread

warnings.simplefilter("ignore")  # of newer Pythons, that there are threads
blas, X, Y = numpys_blas(), np.ones((12, 8), np.float32), np.arange(12) % 2
blas.set_threads(2)
large, small = np.ones((400, 400), np.float32), cr.mlp([8, 16, 2])

def train(*callbacks):
    return cr.fit(small, X, Y, loss="softmax_cross_entropy", epochs=1, batch_size=12, callbacks=callbacks)

def check():
    assert blas.threads() == 2, "not put back in the child"
    assert (large @ large).max() == 400.0
    assert train().predict(X).shape == (12,) and blas.threads() == 2, "not put back after the child's own"

class Forks:
    def on_step_end(self, run):
        assert blas.threads() == 1
        held, end = threading.Event(), threading.Event()

        def hold():  # inside, and at work on what it is counted in
            with one_blas_thread(), _blas_threads._counts.lock:
                held.set()
                end.wait()

        other = threading.Thread(target=hold)
        other.start()
        held.wait()
        child = os.fork()
        if child == 0:  # goes on with the training
            check()
            self.child = True
            return
        end.set()
        other.join()
        assert os.waitpid(child, 0)[1] == 0
        process = multiprocessing.get_context("fork").Process(target=check)
        process.start()
        process.join()
        assert process.exitcode == 0 and blas.threads() == 1

forks = Forks()
train(forks)
if hasattr(forks, "child"):
    assert blas.threads() == 2
    os._exit(0)
assert blas.threads() == 2
print("put back")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is forked, which this system cannot do")
def test_a_child_that_is_forked_inside_begins_anew(numpys: Blas) -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("put back\n", 0), done.stderr


def test_loky_workers_begin_with_what_the_process_has(numpys: Blas) -> None:
    executor = find_library("scikit-learn", "joblib.externals.loky").ProcessPoolExecutor(1, env=_TWO)
    with one_blas_thread(), executor as pool:
        assert pool.submit(_threads_around_a_fit).result(timeout=60) == (2, 2)


_TWO = {"OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}


def _threads_around_a_fit() -> tuple[int, int]:
    blas = numpys_blas()
    assert blas is not None
    assert blas.threads is not None
    before = blas.threads()
    train(SMALL_NET)
    return before, blas.threads()


def test_it_is_the_blas_that_threadpoolctl_finds_beside_numpy(numpys: Blas) -> None:
    found = find_library("threadpoolctl").threadpool_info
    own = [row for row in found() if Path(row["filepath"]).parent.name.lower() in ("numpy.libs", ".dylibs")]
    if not own:
        pytest.skip("NumPy is not a wheel from PyPI, which has its BLAS beside it.")
    row = own[0]
    assert row["internal_api"] == numpys.name
    assert row["version"] == numpys.version
    assert row["architecture"] == numpys.kernels
    assert row["num_threads"] == 2
    with one_blas_thread():
        assert [row["num_threads"] for row in found() if row["filepath"] == own[0]["filepath"]] == [1]


OPENBLAS = {
    "openblas_get_config": lambda: b"OpenBLAS 0.3.29  NO_AFFINITY USE_OPENMP Zen MAX_THREADS=64",
    "openblas_get_corename": lambda: b"Zen",
    "openblas_get_num_threads": lambda: 8,
    "openblas_set_num_threads": lambda number: None,
}


@pytest.mark.parametrize(("parallel", "theirs"), [(0, False), (1, True), (2, False)])
@pytest.mark.parametrize(("before", "after"), [("", ""), ("scipy_", "64_"), ("", "_64")])
def test_openblas_is_known_by_any_of_its_names(parallel: int, theirs: bool, before: str, after: str) -> None:
    functions = {**OPENBLAS, "openblas_get_parallel": lambda: parallel}
    found = _blas._openblas(_library({f"{before}{name}{after}": call for name, call in functions.items()}))
    assert found is not None
    assert found[:3] == ("openblas", "0.3.29", "Zen")
    assert (found.threads is not None, found.set_threads is not None) == (theirs, theirs)


def test_mkl_is_known() -> None:
    def describe(text: Any, size: int) -> None:
        text.value = b"Intel(R) oneAPI Math Kernel Library Version 2026.2-Product Build 20260915 for Intel(R) 64"

    functions = {"MKL_Get_Version_String": describe, "MKL_Get_Max_Threads": lambda: 8, "MKL_Set_Num_Threads": print}
    found = _blas._mkl(_library(functions))
    assert found is not None
    assert found[:3] == ("mkl", "2026.2", "")
    assert found.threads is not None
    assert found.threads() == 8


def test_what_says_nothing_is_nothing() -> None:
    assert _blas._openblas(_library({})) is None
    assert _blas._mkl(_library({})) is None


def _library(functions: dict[str, Callable[..., Any]]) -> Any:
    """A library of these functions, each of which can be told what it returns."""
    return SimpleNamespace(**{name: _like_ctypes(f) for name, f in functions.items()})


def _like_ctypes(f: Callable[..., Any]) -> Any:
    return lambda *arguments: f(*arguments)  # print itself takes no attributes
