"""Ctrl-C ends after the step in flight with the model so far; a second one ends at once; threads are left alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import warnings
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.training import Run

X = np.random.default_rng(8).normal(size=(24, 3))
Y = X[:, 0]
OPTIONS: dict[str, Any] = {"loss": "squared_error", "batch_size": 8}

# The child trains 4 epochs of 3 steps. Signals are raised by a callback, so nothing depends on how fast it is.
CHILD = """
import json, signal, sys, warnings
import numpy as np
import chainrule as cr

X = np.random.default_rng(8).normal(size=(24, 3))
EPOCH, STEP, TIMES, BEST = json.loads(sys.argv[1])
thetas, ended = {}, []

class Press:
    def on_step_end(self, run):
        thetas[run.epoch, run.step] = np.array(run.state.theta)
        if (run.epoch, run.step) == (EPOCH, STEP):
            for _ in range(TIMES):
                signal.raise_signal(signal.SIGINT)
                sum(range(1000))  # a Python handler runs between two instructions

    def on_train_end(self, run):
        ended.append(run.epoch)

class Metric:
    __name__ = "script"
    values = iter([3.0, 1.0, 2.0, 4.0])
    def __call__(self, y, answers):
        return next(self.values)

before = signal.getsignal(signal.SIGINT)
best = [cr.EarlyStopping("val_script", mode="min")] if BEST else []
answer = {"raised": None, "epochs": None, "best": None}
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    try:
        model = cr.fit(cr.mlp([3, 4, 1]), X, X[:, 0], loss="squared_error", batch_size=8, epochs=4,
                       metrics=[Metric()], validation=(X, X[:, 0]), callbacks=[Press(), *best])
        answer["epochs"] = model.history["epoch"]
        answer["weights"] = [list(at) for at, theta in thetas.items() if np.array_equal(theta, model.theta)]
    except KeyboardInterrupt:
        answer["raised"] = "KeyboardInterrupt"
answer["warned"] = [[w.category.__name__, str(w.message), w.filename] for w in seen]
answer["steps"] = len(thetas)
answer["ended"] = ended
answer["restored"] = signal.getsignal(signal.SIGINT) is before
print(json.dumps(answer))
"""


def child(epoch: int, step: int, *, times: int = 1, best: bool = False) -> dict[str, Any]:
    command = [sys.executable, "-c", CHILD, json.dumps([epoch, step, times, best])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def warned(epoch: int, step: int) -> list[list[str]]:
    return [
        ["InterruptedTraining", f"interrupted in epoch {epoch}, step {step}: the model so far is returned.", "<string>"]
    ]


def test_the_step_in_flight_is_finished_and_its_model_returned() -> None:
    answer = child(3, 2)
    assert answer["steps"] == 3 + 3 + 2
    assert answer["weights"] == [[3, 2]]
    assert answer["epochs"] == [1, 2]
    assert answer["warned"] == warned(3, 2)
    assert answer["ended"] == [3]
    assert answer["restored"]


def test_the_last_step_of_an_epoch_completes_the_epoch() -> None:
    answer = child(2, 3)
    assert (answer["steps"], answer["epochs"], answer["weights"]) == (6, [1, 2], [[2, 3]])
    assert answer["warned"] == warned(2, 3)


def test_the_best_model_so_far_is_kept() -> None:
    answer = child(3, 2, best=True)
    assert answer["weights"] == [[2, 3]]  # the second epoch's metric was the best
    assert answer["warned"] == warned(3, 2)


def test_a_second_one_ends_at_once() -> None:
    answer = child(3, 2, times=2)
    assert answer["raised"] == "KeyboardInterrupt"
    assert answer["steps"] == 8
    assert answer["ended"] == [3]
    assert answer["restored"]


def test_the_keys_of_a_terminal_reach_the_training() -> None:
    script = """
import sys
import numpy as np
import chainrule as cr

class Ready:
    def on_epoch_end(self, run, record):
        if run.epoch == 1:
            print("ready", flush=True)

X = np.ones((8, 1))
model = cr.fit(cr.mlp([1, 1]), X, X, loss="squared_error", epochs=10**9, callbacks=[Ready()])
print(len(model.history) >= 1)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (0, "True\n"), errors
    assert "InterruptedTraining: interrupted in epoch " in errors
    assert "Traceback" not in errors


class Handlers:
    """Which handler is installed while training."""

    def on_step_end(self, run: Run) -> None:
        self.during = signal.getsignal(signal.SIGINT)


def test_outside_the_main_thread_no_handler_is_installed() -> None:
    before, handlers, models = signal.getsignal(signal.SIGINT), Handlers(), []

    def train() -> None:
        models.append(cr.fit(cr.mlp([3, 1]), X, Y, epochs=2, callbacks=[handlers], **OPTIONS))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert len(models[0].history) == 2
    assert handlers.during is before
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="tests run in another thread")
def test_the_handler_is_given_back_after_a_training_and_after_an_error() -> None:
    before, handlers = signal.getsignal(signal.SIGINT), Handlers()
    with warnings.catch_warnings():
        cr.fit(cr.mlp([3, 1]), X, Y, epochs=1, callbacks=[handlers], **OPTIONS)
    assert handlers.during is not before
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(cr.DivergenceError):
        cr.fit(cr.mlp([3, 1]), X, Y, epochs=99, optimizer=cr.SGD(1e20), **OPTIONS)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("before", [None, signal.SIG_IGN], ids=["of a host program in C", "ignored"])
def test_a_handler_that_could_not_be_given_back_is_left_alone(before: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def install(number: int, handler: Any) -> Any:
        raise TypeError("signal handler must be signal.SIG_IGN, signal.SIG_DFL, or a callable object")

    monkeypatch.setattr(signal, "getsignal", lambda number: before)
    monkeypatch.setattr(signal, "signal", install)
    assert len(cr.fit(cr.mlp([3, 1]), X, Y, epochs=2, **OPTIONS).history) == 2


def test_an_interpreter_that_may_not_install_a_handler_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    def install(number: int, handler: Any) -> Any:
        raise ValueError("signal only works in main thread of the main interpreter")

    monkeypatch.setattr(signal, "signal", install)
    assert len(cr.fit(cr.mlp([3, 1]), X, Y, epochs=2, **OPTIONS).history) == 2


def test_no_other_signal_is_taken() -> None:
    others = [number for number in signal.valid_signals() if number != signal.SIGINT]
    before, during = [signal.getsignal(number) for number in others], []

    class Look:
        def on_step_end(self, run: Run) -> None:
            during.append([signal.getsignal(number) for number in others])

    cr.fit(cr.mlp([3, 1]), X, Y, epochs=1, callbacks=[Look()], **OPTIONS)
    assert during[0] == before
