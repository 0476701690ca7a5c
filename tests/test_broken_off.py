"""A training run that an error ends: the error that was raised has the weights so far, and so has a checkpoint."""

from __future__ import annotations

import pickle
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Platform, find_library

import chainrule as cr
from chainrule.training import Run, _examples, _feed

RNG = np.random.default_rng(1)
X = RNG.normal(size=(70, 5)).astype("float32")
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
NOTE = "The training's weights so far are in this error's .model."


class UnpluggedError(Exception):
    """What is raised in the middle of a training run."""


class At:
    """A callback that raises in a hook of an epoch, at its last step's end where that is the hook."""

    def __init__(self, hook: str, error: BaseException, epoch: int = 3, step: int = 3) -> None:
        setattr(self, hook, self._raise)
        self.hook, self.error, self.place = hook, error, (epoch, step)

    def _raise(self, run: Run, *_: Any) -> None:
        epoch, step = self.place
        if self.hook == "on_train_end" or (run.epoch == epoch and (self.hook != "on_step_end" or run.step == step)):
            raise self.error


def fit(*callbacks: object, X: Any = X, y: Any = Y, **settings: Any) -> cr.Model:
    usual: dict[str, Any] = {"loss": "softmax_cross_entropy", "epochs": 6, "seed": 3, "optimizer": cr.Adam(0.05)}
    usual |= {} if y is None else {"batch_size": 16}
    usual |= {"validation": (X[:30], Y[:30])} if isinstance(X, np.ndarray) else {}
    net = cr.mlp([5, 8, 2], dropout=0.3, normalization="batch")
    return cr.fit(net, X, y, callbacks=callbacks, **{**usual, **settings})


class Rows:
    """Rows that are read by slices, and fail once when told to."""

    def __init__(self, error: Exception | None, at: int) -> None:
        self.error, self.left, self.shape, self.dtype = error, at, X.shape, X.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        self.left -= 1
        if self.left == 0 and self.error is not None:
            raise self.error
        return X[key]


def batches(error: BaseException | None, epoch: int = 3) -> Callable[[], Iterator[Any]]:
    """A source of batches, whose third batch of an epoch fails."""
    epochs = iter(range(100))  # it is asked for its first batch before it is trained on

    def made() -> Iterator[Any]:
        now = next(epochs)
        for i in range(0, 70, 16):
            if error is not None and (now, i) == (epoch, 32):
                raise error
            yield X[i : i + 16], Y[i : i + 16]

    return made


def weights(model: cr.Model) -> np.ndarray:
    return np.concatenate([np.asarray(model.theta), np.asarray(model.buffers)])


def raised(error: BaseException, train: Callable[[], Any]) -> cr.Model:
    """The model of the error, which is the very one that was raised."""
    with pytest.raises(type(error)) as caught:
        train()
    assert caught.value is error
    assert error.__notes__.count(NOTE) == 1
    model = error.model  # type: ignore[attr-defined]
    assert np.isfinite(weights(model)).all()
    model.predict(X)
    return model


class Sees:
    """Keeps the weights after every step."""

    def __init__(self) -> None:
        self.after: dict[tuple[int, int], np.ndarray] = {}

    def on_step_end(self, run: Run) -> None:
        self.after[run.epoch, run.step] = weights(run.model())


@pytest.fixture(scope="module")
def seen() -> dict[tuple[int, int], np.ndarray]:
    sees = Sees()
    fit(sees)
    return sees.after


ERRORS = [UnpluggedError("out"), OSError("gone"), MemoryError(), SystemExit(3), KeyboardInterrupt()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("hook", "last", "epochs"),
    [
        ("on_epoch_begin", (2, 5), 2),
        ("on_step_end", (3, 3), 2),
        ("on_epoch_end", (3, 5), 3),
        ("on_train_end", (6, 5), 6),
    ],
)
def test_a_callback_that_raises_costs_no_step(
    hook: str, last: tuple[int, int], epochs: int, error: BaseException, seen: dict[Any, np.ndarray]
) -> None:
    model = raised(error, lambda: fit(At(hook, error)))
    np.testing.assert_array_equal(weights(model), seen[last])
    assert model.history["epoch"] == list(range(1, epochs + 1))


@pytest.mark.parametrize("error", ERRORS[:3], ids=lambda error: type(error).__name__)
def test_batches_that_fail_cost_no_step(error: Exception) -> None:
    sees = Sees()
    fit(sees, X=batches(None), y=None)
    model = raised(error, lambda: fit(X=batches(error), y=None))
    np.testing.assert_array_equal(weights(model), sees.after[3, 2])


@pytest.mark.parametrize("at", [4, 9, 30])
def test_rows_that_cannot_be_read_cost_no_step(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_examples, "rows_in_window", lambda rows, batch_size: 16)
    whole, broken, error = Sees(), Sees(), OSError("read error")
    fit(whole, X=Rows(None, 0))
    with pytest.raises(cr.DataError, match="read error") as caught:
        fit(broken, X=Rows(error, at))
    assert caught.value.__cause__ is error
    model = caught.value.model  # type: ignore[attr-defined]
    assert 0 < len(broken.after) < len(whole.after)
    np.testing.assert_array_equal(weights(model), whole.after[max(broken.after)])


def test_a_metric_that_raises_leaves_the_epochs_steps(seen: dict[Any, np.ndarray]) -> None:
    error, calls = ValueError("no such label"), iter(range(100))

    def metric(y: np.ndarray, answers: np.ndarray) -> float:
        if next(calls) == 2:
            raise error
        return 0.5

    np.testing.assert_array_equal(weights(raised(error, lambda: fit(metrics=[metric]))), seen[3, 5])


@pytest.mark.parametrize("library", ["numpy", "numpy-fast", "torch", "jax-jit"])
def test_a_step_that_fails_half_way_leaves_the_epochs_start(
    library: str, open_platform: Callable[..., Platform], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on, error, sees = open_platform(library).backend, MemoryError("half way"), Sees()
    step, calls = _feed.DeviceFeed.step, iter(range(1000))

    def fails(self: Any, state: Any, rows: int, most: int) -> Any:
        if next(calls) == 5 * 2 + 3:
            step(self, state, rows)  # and what it was given is written over
            raise error
        return step(self, state, rows)

    want = fit(sees, backend=on)
    monkeypatch.setattr(_feed.DeviceFeed, "step", fails)
    model = raised(error, lambda: fit(backend=on, checkpoint=tmp_path))
    np.testing.assert_array_equal(weights(model), sees.after[2, 5])
    np.testing.assert_array_equal(
        weights(fit(backend=on, checkpoint=cr.Checkpoint(tmp_path, resume=True))), weights(want)
    )


def test_a_state_on_its_way_to_a_divergence_is_not_the_errors(tmp_path: Path) -> None:
    error = UnpluggedError("out")

    class Overflows:
        def on_step_end(self, run: Run) -> None:
            if (run.epoch, run.step) == (3, 2):
                run.state = run.state._replace(theta=run.state.theta * np.inf)
                raise error

    sees = Sees()
    model = raised(error, lambda: fit(sees, Overflows(), checkpoint=tmp_path))
    np.testing.assert_array_equal(weights(model), sees.after[2, 5])
    np.testing.assert_array_equal(weights(cr.load(max(tmp_path.glob("epoch*")))), sees.after[2, 5])


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="tests run in another thread")
def test_a_second_ctrl_c_keeps_the_weights(seen: dict[Any, np.ndarray]) -> None:
    class Presses:
        def on_step_end(self, run: Run) -> None:
            if (run.epoch, run.step) == (3, 3):
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        fit(Presses())
    np.testing.assert_array_equal(weights(caught.value.model), seen[3, 3])  # type: ignore[attr-defined]


def test_the_best_weights_are_the_errors_where_they_were_asked_for() -> None:
    best = cr.EarlyStopping("loss", patience=100, mode="max")
    at = At("on_epoch_begin", UnpluggedError("out"), epoch=6)
    sees = Sees()
    model = raised(at.error, lambda: fit(best, sees, at))
    assert best.best_epoch < 5
    np.testing.assert_array_equal(weights(model), sees.after[best.best_epoch, 5])


def test_an_error_before_the_first_step_is_left_as_it_is() -> None:
    for hook in ("on_train_begin", "on_epoch_begin"):
        at = At(hook, UnpluggedError("out"), epoch=0 if hook == "on_train_begin" else 1)
        with pytest.raises(UnpluggedError) as caught:
            fit(at)
        assert not hasattr(caught.value, "model")
        assert not hasattr(caught.value, "__notes__")


@dataclass(frozen=True)
class FrozenError(Exception):
    why: str = "out"


class StiffError(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise RuntimeError(name)


class FinalError(BaseException):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


def the_very_one(error: BaseException, train: Callable[[], Any]) -> None:
    caught: list[BaseException] = []
    try:
        train()
    except BaseException as raised:
        caught.append(raised)
    assert caught == [error]
    assert caught[0] is error
    assert not hasattr(error, "model")


@pytest.mark.parametrize("kind", [FrozenError, StiffError, FinalError])
@pytest.mark.parametrize("kept", [False, True], ids=["", "kept"])
def test_an_error_that_takes_no_attribute_passes_as_it_is(
    kind: type[BaseException], kept: bool, tmp_path: Path
) -> None:
    for i, hook in enumerate(("on_train_begin", "on_epoch_begin", "on_step_end", "on_epoch_end", "on_train_end")):
        at = At(hook, kind(), epoch=0 if hook == "on_train_begin" else 3)
        settings: dict[str, Any] = {"checkpoint": tmp_path / str(i)} if kept else {}
        the_very_one(at.error, lambda at=at, settings=settings: fit(listeners()[0], at, *listeners(), **settings))
        if kept and i > 0:
            assert len(cr.load(max((tmp_path / str(i)).glob("epoch*"))).history) >= 2


@pytest.mark.parametrize("library", ["numpy", "torch", "jax-jit", "cupy-stand-in"])
def test_an_error_that_takes_no_attribute_passes_every_library(
    library: str, open_platform: Callable[..., Platform]
) -> None:
    at = At("on_step_end", FrozenError())
    steady = cr.backend(open_platform(library).backend, deterministic=True)
    the_very_one(at.error, lambda: fit(at, backend=steady))


def test_an_error_that_takes_no_attribute_passes_from_every_place() -> None:
    error = FrozenError()

    def fails(*_: object) -> float:
        raise error

    the_very_one(error, lambda: fit(metrics=[fails]))
    the_very_one(error, lambda: fit(X=batches(error), y=None))


def test_an_error_that_is_raised_again_has_the_last_trainings_weights() -> None:
    error = UnpluggedError("out")
    first = raised(error, lambda: fit(At("on_epoch_end", error)))
    second = raised(error, lambda: fit(At("on_epoch_end", error), seed=4))
    assert not np.array_equal(weights(first), weights(second))


def test_a_divergence_in_a_callback_is_not_taken_for_the_trainings(seen: dict[Any, np.ndarray]) -> None:
    class Nests:
        def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
            if run.epoch == 3:
                cr.fit(cr.mlp([5, 1]), X, X[:, 0], loss="squared_error", optimizer=cr.SGD(1e20), epochs=9)

    with pytest.raises(cr.DivergenceError) as caught:
        fit(Nests())
    np.testing.assert_array_equal(weights(caught.value.model), seen[3, 5])


def test_a_divergence_of_its_own_has_the_last_good_weights_and_no_other_word() -> None:
    with pytest.raises(cr.DivergenceError) as caught:
        cr.fit(cr.mlp([5, 1]), X, X[:, 0], loss="squared_error", optimizer=cr.SGD(1e20), epochs=9)
    assert not hasattr(caught.value, "__notes__")
    assert np.isfinite(weights(caught.value.model)).all()


def test_every_callback_is_told_the_ends_also_after_one_that_raises() -> None:
    told: list[str] = []

    class Told:
        def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
            told.append(f"epoch {run.epoch}")

        def on_train_end(self, run: Run) -> None:
            told.append("end")

    for hook, want in (
        ("on_epoch_end", ["epoch 1", "epoch 2", "epoch 3", "end"]),
        ("on_train_end", ["epoch 1", "end"]),
    ):
        told.clear()
        with pytest.raises(UnpluggedError):
            fit(At(hook, UnpluggedError("out")), Told(), epochs=3 if hook == "on_epoch_end" else 1)
        assert told == want


def test_the_error_goes_to_another_process_with_its_weights() -> None:
    error = OSError("gone")
    model = raised(error, lambda: fit(At("on_epoch_end", error)))
    np.testing.assert_array_equal(weights(pickle.loads(pickle.dumps(error)).model), weights(model))


# -------------------------------------------------------------------------------------------------- with a checkpoint


def listeners() -> list[Any]:
    return [cr.EarlyStopping("val_loss", patience=4), cr.ReduceOnPlateau("val_loss", patience=1)]


@pytest.mark.parametrize("every", [1, 4, "1 h"])
@pytest.mark.parametrize("first", [True, False], ids=["before the others", "after the others"])
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_step_end", "on_epoch_end"])
def test_what_broke_off_goes_on_as_if_it_had_not(hook: str, first: bool, every: int | str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 9, "optimizer": cr.Adam(0.3)}
    want = fit(*listeners(), **settings)
    at = At(hook, UnpluggedError("out"), epoch=4)
    callbacks = [at, *listeners()] if first else [*listeners(), at]
    checkpoint = cr.Checkpoint(tmp_path, every=every)
    model = raised(at.error, lambda: fit(*callbacks, checkpoint=checkpoint, **settings))
    kept = cr.load(max(tmp_path.glob("epoch*")))
    assert kept.history == model.history
    got = fit(*listeners(), checkpoint=replace(checkpoint, resume=True), **settings)
    np.testing.assert_array_equal(weights(got), weights(want))
    assert got.history["val_loss"] == want.history["val_loss"]


def test_batches_that_broke_off_go_on_in_the_middle_of_the_epoch(tmp_path: Path) -> None:
    want, error = fit(X=batches(None), y=None), OSError("gone")
    checkpoint = cr.Checkpoint(tmp_path, every="1 h")
    raised(error, lambda: fit(X=batches(error), y=None, checkpoint=checkpoint))
    assert [path.name for path in tmp_path.glob("epoch*")] == ["epoch-000002-step-000002.safetensors"]
    got = fit(X=batches(None), y=None, checkpoint=replace(checkpoint, resume=True))
    np.testing.assert_array_equal(weights(got), weights(want))


def test_a_checkpoint_that_cannot_be_written_hides_no_error(tmp_path: Path) -> None:
    error = UnpluggedError("out")

    class State:
        def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
            if run.epoch == 2:
                raise error

        def state(self) -> dict[str, Any]:
            return {"no JSON": object()}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raised(error, lambda: fit(State(), checkpoint=cr.Checkpoint(tmp_path, every=5)))


def test_an_estimator_keeps_what_its_last_step_left() -> None:
    find_library("scikit-learn", "sklearn")
    error = UnpluggedError("out")
    at = At("on_epoch_end", error, epoch=4)
    net = cr.MLPClassifier(hidden_layer_sizes=(4,), max_iter=20, random_state=0, callbacks=[at])
    model = raised(error, lambda: net.fit(X, Y))
    np.testing.assert_array_equal(weights(net.model_), weights(model))
    assert len(net.model_.history) == 4
