"""Load and misuse: threads, forks, long trainings, many rows, and the user's arrays in every form."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import find_library

import chainrule as cr
from chainrule._backend import reference_backend
from chainrule._kernels import with_providers

RNG = np.random.default_rng(5)
X = RNG.normal(size=(3000, 6)).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)
X.flags.writeable = LABELS.flags.writeable = False
MEGABYTE = 2**20
LINUX = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")


def resident() -> float:
    """The resident memory of this process in MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def network() -> cr.Sequential:
    return cr.mlp([6, 16, 3], activation="tanh", dropout=0.2, normalization="batch")


def trained(backend: str = "numpy", rows: int = 600, **options: Any) -> cr.Model:
    usual = {"loss": "softmax_cross_entropy", "epochs": 1, "batch_size": 100, "backend": backend}
    return cr.fit(network(), X[:rows], LABELS[:rows], **{**usual, **options})


# ------------------------------------------------------------------------------------------------- threads, processes


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_two_threads_predict_with_a_model_that_a_third_trains_further(backend: str) -> None:
    """Every answer of a thread is, bit for bit, that of one thread alone."""
    if backend != "numpy":
        find_library(backend)
    model = trained(backend)
    sizes = (1, 7, 300, 3000)

    def answers(model: cr.Model) -> list[np.ndarray]:
        return [model.predict_proba(X[:n]) for n in sizes for _ in range(3)]

    rounds = 10 if backend == "numpy" else 4
    alone, further = answers(model), cr.fit(model, X[:600], LABELS[:600], batch_size=100, seed=1)
    started, done = threading.Barrier(3), threading.Event()

    def ask() -> int:
        started.wait(30)
        for _ in range(rounds):
            for want, got in zip(alone, answers(model), strict=True):
                np.testing.assert_array_equal(got, want)
        return rounds

    def train() -> int:
        started.wait(30)
        trainings = 0
        while not done.is_set():
            assert cr.fit(model, X[:600], LABELS[:600], batch_size=100, seed=1) == further
            trainings += 1
        return trainings

    with ThreadPoolExecutor(3) as pool:
        asked, training = [pool.submit(ask) for _ in range(2)], pool.submit(train)
        try:
            assert [one.result(60) for one in asked] == [rounds, rounds]
        finally:
            done.set()
        assert training.result(60) >= 1


@pytest.mark.parametrize(
    "backend",
    [
        "numpy",
        "torch",
        pytest.param(
            "jax",
            marks=pytest.mark.xfail(
                strict=True,
                reason="ForwardPass: the first call runs eagerly, later ones compiled, with other last bits",
            ),
        ),
    ],
)
def test_who_asks_again_gets_the_same_answer_bit_for_bit(backend: str) -> None:
    if backend != "numpy":
        find_library(backend)
    model = trained(backend)
    first = model.predict_proba(X[:300])
    for _ in range(3):
        np.testing.assert_array_equal(model.predict_proba(X[:300]), first)


FORK = """
import multiprocessing, sys
import numpy as np
import chainrule as cr

backend, method = sys.argv[1:]
X = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
network = cr.mlp([6, 16, 1], dropout=0.2)


def train():
    return cr.fit(network, X, X[:, 0], loss="squared_error", epochs=2, batch_size=100, backend=backend)


def work(model, send):
    ours = train()
    send.put((ours == model, np.asarray(model.predict(X)), np.asarray(ours.predict(X))))


def child(context, model):
    queue = context.Queue()
    process = context.Process(target=work, args=(model, queue))
    process.start()
    equal, given, ours = queue.get(timeout=60)
    process.join(60)
    assert process.exitcode == 0, process.exitcode
    return equal, given, ours


if __name__ == "__main__":
    context = multiprocessing.get_context(method)
    if method == "fork":  # right after the import, before anything was computed here
        queue = context.Queue()
        first = context.Process(target=lambda: queue.put(np.asarray(train().theta)))
        first.start()
        theta = queue.get(timeout=60)
        first.join(60)
        assert np.array_equal(theta, np.asarray(train().theta))
    model = train()
    want = np.asarray(model.predict(X))
    equal, given, ours = child(context, model)
    assert equal and np.array_equal(given, want) and np.array_equal(ours, want)
    print("equal")
"""


@pytest.mark.parametrize(("backend", "method"), [("numpy", "fork"), ("numpy", "spawn"), ("torch", "fork")])
def test_a_child_process_trains_and_predicts_like_its_parent(backend: str, method: str, tmp_path: Path) -> None:
    """Forked after the import, and after a training run. On one thread: torch's own pool does not survive a fork."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    if backend != "numpy":
        find_library(backend)
    script = tmp_path / "child.py"
    script.write_text(FORK)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, str(script), backend, method], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "equal"), ran.stderr


# ------------------------------------------------------------------------------------------------------ steps, memory


class MemoryAt:
    """The resident memory at the ends of these epochs."""

    def __init__(self, *epochs: int) -> None:
        self.epochs, self.seen = epochs, []  # type: tuple[int, ...], list[float]

    def on_epoch_end(self, run: Any, record: Any) -> None:
        if run.epoch in self.epochs:
            self.seen.append(resident())


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize("fast", [True, False], ids=["numba", "plain"])
def test_a_hundred_thousand_steps_take_no_more_memory_than_twenty_thousand(fast: bool) -> None:
    if fast:
        find_library("numba")
    rows, memory = 20_000, MemoryAt(10, 50)
    inputs = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    cr.fit(
        cr.mlp([3, 4, 1]),
        inputs,
        inputs[:, 0],
        loss="squared_error",
        epochs=50,
        batch_size=10,
        backend=with_providers(reference_backend("numpy"), fast=fast),
        callbacks=[memory],
    )
    before, after = memory.seen
    assert after - before < 2.0


def growth(work: Callable[[], object]) -> float:
    """MB that the process grows by while this is done 150 times: the smaller of two rounds, after 50 to warm up.

    What is lost is lost in both rounds; what an allocator once takes is taken in one of them.
    """
    memory = []
    for times in (50, 150, 150):
        for _ in range(times):
            work()
        memory.append(resident())
    return min(memory[1] - memory[0], memory[2] - memory[1])


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_trainings_and_predictions_in_a_row_take_no_more_memory(backend: str) -> None:
    if backend != "numpy":
        find_library(backend)

    def work() -> None:
        model = trained(backend, rows=100, batch_size=50)
        model.predict(X[:100])
        model.predict(X[:50])

    assert growth(work) < 1.0


@pytest.mark.slow
@LINUX
def test_calls_of_partial_fit_in_a_row_take_no_more_memory() -> None:
    estimator = cr.MLPClassifier(hidden_layer_sizes=(8,), random_state=0)

    def work() -> None:
        estimator.partial_fit(X[:100], LABELS[:100], classes=[0, 1, 2])
        estimator.predict(X[:100])

    assert growth(work) < 1.0


@pytest.mark.slow
@LINUX
def test_threads_that_come_and_go_leave_nothing_behind() -> None:
    model = trained()

    def work() -> None:
        thread = threading.Thread(target=lambda: [model.predict(X) for _ in range(2)])
        thread.start()
        thread.join()

    assert growth(work) < 1.0


TEN_MILLION = """
import resource, sys
import numpy as np
import chainrule as cr

backend, rows = sys.argv[1], 10_000_000
small = np.random.default_rng(0).normal(size=(50_000, 2)).astype(np.float32)
network = cr.mlp([2, 8, 1], activation="tanh")
model = cr.fit(network, small, small[:, 0], loss="squared_error", epochs=1, batch_size=5000, backend=backend)
want = np.asarray(model.predict(small))
X = np.empty((rows, 2), dtype=np.float32)
for i in range(0, rows, len(small)):
    X[i : i + len(small)] = small
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
answer = np.asarray(model.predict(X))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert answer.shape == (rows,)
for i in range(0, rows, len(small)):
    assert np.allclose(answer[i : i + len(small)], want, rtol=1e-5, atol=1e-6)
print((after - before) / 1024 - answer.nbytes / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of the memory is in KB on Linux alone")
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_ten_million_rows_are_predicted_in_bounded_memory(backend: str) -> None:
    if backend != "numpy":
        find_library(backend)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", TEN_MILLION, backend], env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) < 300.0  # MB beyond the input and the answer


# ------------------------------------------------------------------------------------------------- the user's arrays

# Small whole numbers are the same in every dtype below, so every answer must be.
WHOLE = np.random.default_rng(11).integers(-4, 5, size=(40, 3))
BITS = (WHOLE > 0).astype(np.float64)
TARGET = WHOLE[:, 0] * 0.5 - WHOLE[:, 2]
CLASSES = (WHOLE[:, 0] > 0).astype(np.int64)
WEIGHT = np.arange(40) % 3 + 1.0


def every_other(x: np.ndarray) -> np.ndarray:
    """``x`` with gaps between its numbers, in both directions."""
    spread = np.zeros([2 * n for n in x.shape], dtype=x.dtype)
    spread[tuple(slice(None, None, 2) for _ in x.shape)] = x
    return spread[tuple(slice(None, None, 2) for _ in x.shape)]


def backwards(x: np.ndarray) -> np.ndarray:
    """``x`` with negative strides."""
    turned = tuple(slice(None, None, -1) for _ in x.shape)
    return x[turned].copy()[turned]


def unaligned(x: np.ndarray) -> np.ndarray:
    raw = np.zeros(x.nbytes + 1, dtype=np.uint8)[1:]
    view = raw.view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def mapped(x: np.ndarray) -> np.ndarray:
    """``x`` in a file, read-only."""
    with tempfile.TemporaryFile() as file:
        x.tofile(file)
        file.flush()
        return np.memmap(file, dtype=x.dtype, mode="r", shape=x.shape)


def frame(x: np.ndarray) -> Any:
    return pd.Series(x) if x.ndim == 1 else pd.DataFrame(x, columns=[f"c{i}" for i in range(x.shape[1])])


def mixed_frame(x: np.ndarray) -> Any:
    """Columns of several dtypes, as a file gives them."""
    return frame(x) if x.ndim == 1 else frame(x).astype({"c0": "int8", "c1": "float32", "c2": "int64"})


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "float32": lambda x: x.astype(np.float32),
    "float16": lambda x: x.astype(np.float16),
    "long double": lambda x: x.astype(np.longdouble),
    "swapped bytes": lambda x: x.astype(x.dtype.newbyteorder()),
    "Fortran order": np.asfortranarray,
    "gaps": every_other,
    "negative strides": backwards,
    "unaligned": unaligned,
    "broadcast": lambda x: np.broadcast_to(x[None], (2, *x.shape))[0],
    "a memory map": mapped,
    "lists": lambda x: x.tolist(),
    "tuples": lambda x: tuple(map(tuple, x)) if x.ndim == 2 else tuple(x),
    "a list of arrays": list,
    "a frame": frame,
    "a frame of several dtypes": mixed_frame,
    "a subclass": lambda x: x.view(type("Named", (np.ndarray,), {})),
}


def protected(x: Any) -> Any:
    """Where ``x`` is an array, one that raises when it is written to."""
    if isinstance(x, np.ndarray):
        x.flags.writeable = False
    return x


def everything(x: Any, y: Any, classes: Any, weight: Any) -> dict[str, Any]:
    """What the library answers to these arrays, everywhere that it takes arrays."""
    net, labels = cr.mlp([3, 5, 1], activation="tanh"), cr.mlp([3, 5, 2])
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16}
    model = cr.fit(net, x, y, loss="squared_error", sample_weight=weight, validation=(x, y, weight), **options)
    chooser = cr.fit(labels, x, classes, loss="softmax_cross_entropy", **options)
    regressor = cr.MLPRegressor(hidden_layer_sizes=(5,), max_iter=3, tol=0.0, random_state=0, dtype="float64")
    classifier = cr.MLPClassifier(hidden_layer_sizes=(5,), max_iter=3, tol=0.0, random_state=0, dtype="float64")
    estimators: dict[str, Any] = {}
    for name, estimator, target in (("regressor", regressor, y), ("classifier", classifier, classes)):
        with pytest.warns(UserWarning, match="Maximum iterations"):
            estimators[name] = estimator.fit(x, target).predict(x)
        estimators[f"{name} after another epoch"] = estimator.partial_fit(x, target).predict(x)
        estimators[f"{name}'s score"] = estimator.score(x, target)
    check = cr.check_gradients(net, x, y, loss="squared_error", sample_weight=weight)
    assert check.rows[-1].checked == 1
    return {
        "theta": model.theta,
        "history": [model.history["val_loss"], model.history["val_r2"]],
        "predict": model.predict(x),
        "evaluate": list(model.evaluate(x, y, weight).values()),
        "classes": chooser.predict(x),
        "predict_proba": chooser.predict_proba(x),
        "evaluate classes": list(chooser.evaluate(x, classes).values()),
        "check_gradients": [check.passed, check.rows[-1].backpropagation],  # of others' elements, rounding picks one
        "diagnose": [row.std for row in cr.diagnose(net, x, y, loss="squared_error").rows],
        **estimators,
    }


@pytest.fixture(scope="module")
def want() -> dict[str, Any]:
    return everything(WHOLE.astype(np.float64), TARGET, CLASSES, WEIGHT)


def check_same(got: dict[str, Any], want: dict[str, Any]) -> None:
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("form", FORMS)
def test_arrays_of_every_form_are_accepted_read_only_and_give_the_same_answers(form: str, want: dict[str, Any]) -> None:
    make = FORMS[form]
    arrays = [protected(make(x)) for x in (WHOLE.astype(np.float64), TARGET, CLASSES.copy(), WEIGHT)]
    if form in ("float32", "float16", "long double"):
        arrays[2] = CLASSES  # class indices are integers
    check_same(everything(*arrays), want)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint64"])
def test_whole_numbers_and_booleans_are_numbers(dtype: str) -> None:
    arrays = [BITS, BITS[:, 1], BITS[:, 2].astype(np.int64), np.ones(40)]
    check_same(everything(*(protected(x.astype(dtype)) for x in arrays)), everything(*arrays))


def test_arrays_that_can_be_written_are_not() -> None:
    arrays = [WHOLE.astype(np.float32), TARGET.astype(np.float32), CLASSES.copy(), WEIGHT.astype(np.float32)]
    copies = [x.copy() for x in arrays]
    everything(*arrays)
    for x, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(x, copy)


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("form", ["Fortran order", "negative strides", "swapped bytes", "gaps", "a memory map"])
def test_other_libraries_take_numpys_arrays_of_every_form(form: str, backend: str) -> None:
    find_library(backend)
    on = cr.backend(backend, compile=False)
    model = cr.fit(cr.mlp([3, 5, 1]), WHOLE, TARGET, loss="squared_error", epochs=1, backend=on)
    made = protected(FORMS[form](WHOLE.astype(np.float64)))
    np.testing.assert_allclose(model.predict(made), model.predict(WHOLE), rtol=1e-6, atol=1e-6)
    got = cr.fit(cr.mlp([3, 5, 1]), made, TARGET, loss="squared_error", epochs=1, backend=on)
    assert got == model


@pytest.mark.parametrize("form", ["a transpose", "a step", "gradients wanted", "float64", "float16", "int8"])
def test_torchs_tensors_of_every_form_give_the_same_answers(form: str) -> None:
    torch = find_library("torch")
    plain = torch.tensor(WHOLE, dtype=torch.float32)
    made = {
        "a transpose": lambda: plain.mT.contiguous().mT,
        "a step": lambda: torch.repeat_interleave(plain, 2, dim=0)[::2],
        "gradients wanted": lambda: plain.clone().requires_grad_(),
        "float64": plain.double,
        "float16": plain.half,
        "int8": lambda: plain.to(torch.int8),
    }[form]()
    target = torch.tensor(TARGET, dtype=torch.float32)

    def train(x: Any) -> cr.Model:
        return cr.fit(cr.mlp([3, 5, 1]), x, target, loss="squared_error", epochs=2, batch_size=16)

    model = train(plain)
    np.testing.assert_allclose(train(made).theta, model.theta, rtol=1e-5, atol=1e-6)
    answer = model.predict(made)
    assert not answer.requires_grad
    np.testing.assert_allclose(answer, model.predict(plain), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(plain, torch.tensor(WHOLE, dtype=torch.float32))
