"""A recorded step as one compiled call: what it covers, that it is the step, and threads that come, go and fork."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr
from chainrule._backend import _blas_threads, _items, _loops, _program
from chainrule._backend._blas_threads import threads_given, training_threads
from chainrule._backend._record import NotCovered
from chainrule._kernels import with_providers
from chainrule.activations import ACTIVATIONS
from chainrule.optimizers import OPTIMIZERS

sys.path.insert(0, str(Path(__file__).parent / "fuzz"))
import one_call

find_library("numba", "numba")
queue = __import__("chainrule._kernels._queue", fromlist=["Threads"])

RNG = np.random.default_rng(3)
X = RNG.standard_normal((60, 5)).astype(np.float32)
CLASSES = RNG.integers(0, 4, 60)
NUMBERS = RNG.standard_normal((60, 4)).astype(np.float32)
FAST = with_providers(cr.backend("numpy"), fast=True)  # in a short training too
SHARES = np.abs(NUMBERS) / np.abs(NUMBERS).sum(axis=1, keepdims=True)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The programs that are one call, in turn; or the reason why one is not."""
    found: list[Any] = []
    init = _program.OneCall.__init__

    def noted(self: Any, *arguments: Any) -> None:
        try:
            init(self, *arguments)
        except NotCovered as reason:
            found.append(str(reason))
            raise
        found.append(self)

    monkeypatch.setattr(_program.OneCall, "__init__", noted)
    return found


@contextmanager
def call_by_call() -> Iterator[None]:
    """Steps run as recorded, from Python."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_program, "check_products", _refused)
        yield


def _refused(*_: Any) -> None:
    raise NotCovered("a test")


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks are cut as large ones are."""
    monkeypatch.setattr(_items, "_CUT", 0)
    monkeypatch.setattr(_items, "_ROWS", 4)
    monkeypatch.setattr(_items, "_PLACES", 16)


def fit(network: Any = None, y: Any = CLASSES, **options: Any) -> cr.Model:
    usual = {"loss": "softmax_cross_entropy", "epochs": 3, "batch_size": 16, "verbose": False, "backend": FAST}
    return cr.fit(network or cr.mlp([5, 6, 4]), X, y, **{**usual, **options})


def same(a: cr.Model, b: cr.Model) -> bool:
    return bool(np.array_equal(a.theta, b.theta)) and a.history["loss"] == b.history["loss"]


# ---------------------------------------------------------------------------------------------------- what is covered

CASES: dict[str, dict[str, Any]] = {
    **{f"activation {name}": {"network": {"activation": name}} for name in ACTIVATIONS if name != "step"},
    "activation softmax": {"network": {"activation": "softmax"}},
    "activation randomized": {"network": {"activation": "randomized_leaky_relu"}},
    **{f"optimizer {name}": {"optimizer": name} for name in OPTIMIZERS},
    "nesterov": {"optimizer": cr.Momentum(0.01, nesterov=True)},
    "epsilon hat": {"optimizer": cr.Adam(epsilon_hat=True)},
    "schedule cosine": {"optimizer": cr.Adam(cr.CosineDecay(0.01))},
    "schedule one cycle": {"optimizer": cr.SGD(cr.OneCycle(0.1))},
    "schedule steps": {"optimizer": cr.SGD(cr.StepDecay(0.1, every=3))},
    **{
        f"loss {name}": {"loss": name, "y": NUMBERS}
        for name in ("squared_error", "absolute_error", "huber", "quantile")
    },
    "loss poisson": {"loss": "poisson", "y": np.abs(NUMBERS)},
    "loss sigmoid": {"loss": "sigmoid_cross_entropy", "y": (NUMBERS > 0).astype(np.float32)},
    "shares of classes": {"y": SHARES.astype(np.float32)},
    "label smoothing": {"loss": cr.SoftmaxCrossEntropy(label_smoothing=0.1)},
    "dropout": {"network": {"dropout": 0.3}},
    "batch normalisation": {"network": {"normalization": "batch"}},
    "layer normalisation": {"network": {"normalization": "layer", "dropout": 0.2, "activation": "gelu"}},
    "clip norm": {"clip": cr.ClipNorm(0.1)},
    "clip value": {"clip": cr.ClipValue(0.01)},
    "l2": {"penalty": cr.Penalty(l2=0.01)},
    "l1 over examples": {"penalty": cr.Penalty(l1=0.01, over="examples")},
    "weights": {"sample_weight": RNG.random(60)},
    "weights of 0": {"sample_weight": np.repeat([0.0, 1.0], 30)},
    "float64": {"backend": with_providers(cr.backend("numpy", dtype="float64"), fast=True)},
}


def run(case: dict[str, Any]) -> cr.Model:
    options = {**case}
    network = cr.mlp([5, 6, 4], **options.pop("network", {}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(network, **options)


@pytest.mark.parametrize("name", CASES)
def test_what_is_covered_has_the_bits_of_the_recorded_calls(name: str, made: list[Any]) -> None:
    one = run(CASES[name])
    assert made
    assert all(isinstance(program, _program.OneCall) for program in made)
    with call_by_call():
        assert same(one, run(CASES[name]))


@pytest.mark.parametrize("name", CASES)
def test_cut_into_pieces_it_is_the_same_step(name: str, made: list[Any], in_pieces: None) -> None:
    one = run(CASES[name])
    assert all(isinstance(program, _program.OneCall) for program in made)
    with call_by_call():
        other = run(CASES[name])
    scale = np.abs(other.theta).max()
    assert np.abs(one.theta - other.theta).max() <= (1e-12 if "64" in name else 2e-5) * scale


class Squash(cr.Layer):
    traceable = True

    def apply(self, backend: Any, params: Any, buffers: Any, x: Any) -> Any:
        return x / (1.0 + backend.xp.abs(x))

    def pullback(self, backend: Any, params: Any, residual: Any, dy: Any, grads: Any) -> Any:
        return dy / backend.xp.square(1.0 + backend.xp.abs(residual))


def test_a_traceable_part_of_ones_own_is_joined(made: list[Any]) -> None:
    network = cr.Sequential(cr.Dense(5, 6), Squash(), cr.Dense(6, 4))
    one = fit(network)
    assert all(isinstance(program, _program.OneCall) for program in made)
    with call_by_call():
        assert same(one, fit(network))


def test_a_function_that_only_python_can_call_is_run_as_it_was(made: list[Any]) -> None:
    custom = cr.Activation(lambda xp, z: xp.tanh(z), lambda xp, z: 1.0 - xp.tanh(z) ** 2)
    fit(cr.Sequential(cr.Dense(5, 6), custom, cr.Dense(6, 4)))
    assert set(made) == {"a call that only Python can make"}


def test_a_wide_product_and_a_stack_are_not_cut(made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_items, "_WIDE", 20)
    fit()
    assert set(made) == {"a product of more weights than a core's cache has room for"}


# ------------------------------------------------------------------------------------------------- NumPy's own loops


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(16, 6), (3, 100), (16, 1), (1, 6), (300, 3), (4, 5000)])
def test_numpys_loops_by_address_give_numpys_bits(dtype: Any, shape: tuple[int, int]) -> None:
    x = RNG.standard_normal(shape).astype(dtype)

    def compute(*calls: _loops.Call) -> None:
        queue._Queue([[[(call, 0, call.extent) for call in calls]]], 0, np.zeros(1, np.int64))(1)

    for function in (np.add, np.maximum, np.minimum):
        for axis in (-1, -2, None):
            wanted = function.reduce(x, axis, keepdims=True)
            out = np.full_like(wanted, 7)
            compute(*_loops._reduction(function, axis, x, out))
            assert np.array_equal(out, wanted)
    for other in (x[:1], x[:, :1], x, np.asarray(2, dtype)):
        for function in (np.subtract, np.divide, np.power):
            wanted, out = function(np.abs(x), other), np.empty_like(x)
            compute(_loops._elements(_loops.numpy_loop(function, (x.dtype,) * 3), [np.abs(x), other, out]))
            assert np.array_equal(out, wanted, equal_nan=True)
    y, out = RNG.standard_normal((shape[1], 7)).astype(dtype), np.empty((shape[0], 7), dtype)
    compute(_loops._product(np.matmul, x, y, out))
    assert np.array_equal(out, x @ y)


def test_operands_that_numpy_would_convert_are_not_covered() -> None:
    with pytest.raises(NotCovered, match="add of int32, float32, float32"):
        _loops.numpy_loop(np.add, (np.dtype(np.int32), np.dtype(np.float32), np.dtype(np.float32)))


def test_where_numpys_table_is_elsewhere_nothing_is_covered(made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_loops, "_is_readable", lambda: False)
    _loops.numpy_loop.cache_clear()
    fit()
    _loops.numpy_loop.cache_clear()
    assert set(made) == {"NumPy's table of loops is not where its header says"}


# -------------------------------------------------------------------------------------------------- threads and steps


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_cores", lambda: 2)


def test_the_numbers_do_not_depend_on_how_many_threads_there_are(
    in_pieces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = []
    for cores in (1, 2, 3, 5):
        monkeypatch.setattr(queue, "_cores", lambda cores=cores: cores)
        models.append(fit(cr.mlp([5, 32, 16, 4], dropout=0.1), epochs=20))
    assert all(same(models[0], model) for model in models[1:])


class EachStep(cr.Callback):
    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_step_end(self, run: Any) -> None:
        self.steps.append(run.step)


class NowAndThen(EachStep):
    every_step = False


def test_two_blocks_of_rows_to_predict_have_two_threads(made: list[Any], two_threads: None) -> None:
    model, rows = fit(), np.resize(X, (1024, 5))
    alone = np.concatenate([model.predict_proba(rows[i : i + 512]) for i in (0, 512)])
    for _ in range(3):
        np.testing.assert_array_equal(model.predict_proba(rows), alone)
    assert (made[-1].run.items, made[-1].run._helpers) == (2, 1)


def test_steps_are_taken_together_where_nothing_has_to_look_between_them() -> None:
    rarely, always = NowAndThen(), EachStep()
    alone, seen = fit(epochs=30, batch_size=4, callbacks=[rarely]), fit(epochs=30, batch_size=4, callbacks=[always])
    assert same(alone, seen)
    assert same(alone, fit(epochs=30, batch_size=4))
    assert always.steps == [*range(1, 16)] * 30
    assert len(rarely.steps) < 200
    assert rarely.steps[-1] == 15


def test_the_short_batch_at_the_end_is_a_step_of_its_own() -> None:
    rarely = NowAndThen()
    model = fit(epochs=10, batch_size=9, callbacks=[rarely])
    assert rarely.steps[-1] == 7
    with call_by_call():
        assert same(model, fit(epochs=10, batch_size=9))


def test_two_training_runs_in_two_threads(in_pieces: None, two_threads: None) -> None:
    wanted, found = [fit(seed=seed, epochs=20) for seed in (0, 1)], {}
    threads = [threading.Thread(target=lambda s=seed: found.update({s: fit(seed=s, epochs=20)})) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(same(wanted[seed], found[seed]) for seed in (0, 1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_goes_on_with_a_program_whose_second_thread_stayed_behind(
    in_pieces: None, two_threads: None
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fork beside threads, which this is about
        model = fit(epochs=5)
        wanted = model.predict(X), fit(epochs=5)
        context, ends = multiprocessing.get_context("fork"), multiprocessing.get_context("fork").Pipe()
        process = context.Process(target=_in_child, args=(ends[1], model))
        process.start()
        assert ends[0].poll(60)
        predictions, theta = ends[0].recv()
        process.join(60)
    assert np.array_equal(predictions, wanted[0])
    assert np.array_equal(theta, wanted[1].theta)


def _in_child(end: Any, model: cr.Model) -> None:
    end.send((model.predict(X), np.asarray(fit(epochs=5).theta)))


_SCRIPT = """
import os, sys, signal, threading, time, numpy as np
import chainrule as cr
from chainrule._backend import _items
from chainrule._kernels import _queue, with_providers
fast = with_providers(cr.backend("numpy"), fast=True)
_items._CUT, _items._ROWS, _queue._cores = 0, 4, lambda: 2
X, y = np.random.default_rng(0).standard_normal((60, 5)).astype("f4"), np.arange(60) % 4
options = dict(loss="softmax_cross_entropy", batch_size=16, backend=fast)
def fit(epochs):
    return cr.fit(cr.mlp([5, 6, 4]), X, y, epochs=epochs, **options)
"""


def script(text: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SCRIPT + text], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_interpreter_ends_beside_threads_that_sleep() -> None:
    assert script("fit(3); kept = fit(3); print(threading.active_count() > 1)").stdout == "True\n"


def test_ctrl_c_ends_the_training_after_some_milliseconds() -> None:
    text = (
        "fit(2)\n"
        "threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "start = time.perf_counter(); model = fit(10**7)\n"
        "print(len(model.history) > 10, time.perf_counter() - start < 20)\n"
    )
    assert script(text).stdout == "True True\n"


def test_the_threads_of_a_program_end_with_it() -> None:
    text = (
        "import gc\n"
        "for _ in range(5): fit(2); gc.collect()\n"
        "for _ in range(200):\n"
        "    if threading.active_count() == 1: break\n"
        "    time.sleep(0.05)\n"
        "print(threading.active_count())\n"
    )
    assert script(text).stdout == "1\n"


def test_an_order_beyond_the_rows_raises_and_reads_nothing(made: list[Any]) -> None:
    fit()
    program = made[0]
    cursor = next(
        array
        for register, array in program._arrays.items()
        if array.dtype == np.int32 and array.size == 1 and array[0] > 1
    )
    before, cursor[0] = cursor[0], 10_000
    with pytest.raises(IndexError, match="beyond the epoch's order"):
        program.run(1)
    cursor[0] = before


def test_no_more_threads_help_than_the_blas_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    monkeypatch.setattr(sys, "platform", "linux")
    for given, most in ((1, 1), (3, 3), (None, 8), (100, 8)):
        monkeypatch.setattr(queue, "threads_given", lambda given=given: given)
        assert queue._cores() == most


def test_a_limit_of_the_callers_own_is_a_limit_of_the_threads_too() -> None:
    threadpoolctl = find_library("threadpoolctl", "threadpoolctl")
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        assert threads_given() in (1, None)
    with threadpoolctl.threadpool_limits(2, user_api="blas"), training_threads(1):
        assert threads_given() in (2, None)


def test_a_training_on_batches_of_many_sizes_is_not_cut(made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_items, "_CUT", 0)
    cr.fit(cr.mlp([5, 6, 4]), [(X, CLASSES)], loss="softmax_cross_entropy", epochs=1, verbose=False, backend=FAST)
    assert "a step that would be cut, of a training whose batches may be of many sizes" in made


def test_a_small_step_is_cut_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_items, "_PLACES", 16)
    bind, levels = queue.Threads.bind, []
    monkeypatch.setattr(queue.Threads, "bind", lambda self, found: levels.append(found) or bind(self, found))
    fit()
    assert all(len(level) <= 2 for found in levels for level in found)  # rows or weights, and what cannot be cut
    assert levels


def test_where_items_have_the_threads_the_blas_has_one(in_pieces: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_blas_threads, "SMALL", 0)  # so that the products of this training are large
    inside: list[tuple[int, int]] = []

    class Look(cr.Callback):
        def on_epoch_end(self, run: Any, record: Any) -> None:
            inside.append((_blas_threads._counts.large, _blas_threads._counts.small))

    fit(callbacks=[Look()], epochs=2)
    assert inside == [(0, 1)] * 2
    assert (_blas_threads._counts.large, _blas_threads._counts.small) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 1000, 2000])
def test_trainings_drawn_at_random_are_the_same_by_three_ways(first: int) -> None:
    assert [found for found in (one_call.differs(seed)[0] for seed in range(first, first + 25)) if found] == []
