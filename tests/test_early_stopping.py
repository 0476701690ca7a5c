"""EarlyStopping and ReduceOnPlateau: what they wait for, and what they give back."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from small_training import LABELS, NeverTrained, Weights, X, Y, fit

import chainrule as cr


class Script:
    """A metric of the user's own that answers what it was told to, epoch by epoch."""

    __name__ = "script"

    def __init__(self, *values: float) -> None:
        self.values = iter(values)

    def __call__(self, y: np.ndarray, answers: np.ndarray) -> float:
        return next(self.values)


def scripted(*values: float, callback: Any, **options: Any) -> cr.Model:
    """A training run whose ``val_script`` takes these values."""
    return fit(callback, *options.pop("more", ()), metrics=[Script(*values)], validation=(X, Y), epochs=len(values))


# -------------------------------------------------------------------------------------------------------- EarlyStopping


@pytest.mark.parametrize(
    ("values", "options", "epochs", "best"),
    [
        ([3, 2, 1, 2, 3, 4, 5], {"mode": "min", "patience": 2}, 5, 3),
        ([3, 2, 1, 2, 3, 4, 5], {"mode": "min", "patience": 1}, 4, 3),
        ([3, 2, 1, 2, 0, 4, 5], {"mode": "min", "patience": 2}, 7, 5),
        ([1, 2, 3, 2, 1, 0, 0], {"mode": "max", "patience": 3}, 6, 3),
        ([3, 2.8, 2.6, 2.4, 1], {"mode": "min", "patience": 3, "min_delta": 0.5}, 5, 5),
        ([3, 2.8, 2.7, 2.6, 0], {"mode": "min", "patience": 2, "min_delta": 0.5}, 3, 1),
        ([2, 2, 2, 2], {"mode": "min", "patience": 2}, 3, 1),  # as good is not better
        ([2, np.nan, np.nan, 0], {"mode": "min", "patience": 2}, 3, 1),
        ([1, 2, 3], {"mode": "min", "patience": 9}, 3, 1),  # the best is given back though training ended otherwise
    ],
)
def test_early_stopping_waits_and_gives_back_the_best_weights(
    values: list[float], options: dict[str, Any], epochs: int, best: int
) -> None:
    weights = Weights()
    model = scripted(*values, callback=cr.EarlyStopping("val_script", **options), more=[weights])
    assert len(model.history) == epochs
    np.testing.assert_array_equal(model.theta, weights.after[best])


@pytest.mark.parametrize(
    ("monitor", "loss", "y", "better"),
    [
        ("loss", "squared_error", Y, np.argmin),
        ("val_loss", "squared_error", Y, np.argmin),
        ("val_r2", "squared_error", Y, np.argmax),
        ("val_accuracy", "sigmoid_cross_entropy", LABELS, np.argmax),
    ],
)
def test_early_stopping_knows_which_way_is_better(monitor: str, loss: str, y: Any, better: Any) -> None:
    weights = Weights()
    options = {"optimizer": cr.SGD(0.4), "epochs": 12, "validation": (X[:12], y[:12])}
    stopping = cr.EarlyStopping(monitor, patience=12)
    model = cr.fit(cr.mlp([3, 4, 1]), X, y, loss=loss, batch_size=8, callbacks=[stopping, weights], **options)
    best = int(better(model.history[monitor])) + 1
    assert stopping.best_epoch == best < 12  # a rate this high: the last epoch is not the best
    np.testing.assert_array_equal(model.theta, weights.after[best])


def test_early_stopping_gives_back_running_statistics_too() -> None:
    def train(epochs: int, *callbacks: Any) -> cr.Model:
        script = [Script(1.0, 0.0, 2.0, 3.0)]
        net, held = cr.mlp([3, 4, 1], normalization="batch"), (X, Y)
        options = {"loss": "huber", "batch_size": 8, "epochs": epochs}
        return cr.fit(net, X, Y, metrics=script, validation=held, callbacks=callbacks, **options)

    assert train(4, cr.EarlyStopping("val_script", mode="min")) == train(2)


def test_early_stopping_may_leave_the_last_weights() -> None:
    stopping = cr.EarlyStopping("val_script", mode="min", patience=1, restore_best=False)
    assert scripted(1, 2, 3, callback=stopping) == fit(epochs=2)


def test_one_early_stopping_serves_two_trainings() -> None:
    stopping = cr.EarlyStopping("val_script", mode="min", patience=2)
    first = scripted(1, 2, 3, 4, callback=stopping)
    second = scripted(9, 8, 9, 9, callback=stopping)  # its best is worse than the first's
    assert (len(first.history), len(second.history)) == (3, 4)
    assert second == fit(epochs=2)


def test_the_direction_of_a_metric_of_your_own_must_be_said() -> None:
    with pytest.raises(cr.ConfigurationError, match=r"larger 'val_script' is better: mode='max' or mode='min'"):
        cr.EarlyStopping("val_script")
    with pytest.raises(cr.ConfigurationError, match=r"mode must be 'auto', 'min' or 'max', got 'lower'"):
        cr.EarlyStopping(mode="lower")  # type: ignore[arg-type]


NAN = float("nan")
ONE_ROW, CONSTANT = (X[:1], Y[:1]), (X[:5], np.full(5, 0.7))


@pytest.mark.parametrize(
    ("held", "says", "epochs"),
    [
        (ONE_ROW, "val_r2 was no number, as r2 of a single row is none: training ends with the weights of the last", 3),
        (CONSTANT, "val_r2 was 0 in every epoch, as r2 of a constant target is: .* weights of the first epoch", 4),
    ],
    ids=["one row", "a constant target"],
)
@pytest.mark.parametrize("patience", [3, 99])
def test_early_stopping_says_that_it_went_by_nothing(held: Any, says: str, epochs: int, patience: int) -> None:
    weights = Weights()
    with pytest.warns(UserWarning, match=says) as caught:
        model = fit(cr.EarlyStopping("val_r2", patience=patience), weights, validation=held, epochs=7)
    assert len(caught) == 1
    assert len(model.history) == (epochs if patience == 3 else 7)
    np.testing.assert_array_equal(model.theta, weights.after[1 if held is CONSTANT else len(model.history)])


@pytest.mark.parametrize(
    ("held", "says"),
    [(ONE_ROW, "was no number, as r2 of a single row"), (CONSTANT, "was 0 in every epoch, as r2 of a constant")],
    ids=["one row", "a constant target"],
)
def test_no_rate_is_reduced_by_what_says_nothing(held: Any, says: str) -> None:
    with pytest.warns(UserWarning, match=f"val_r2 {says} .*: the rate stays as it is. Monitor 'val_loss'") as caught:
        model = fit(cr.ReduceOnPlateau("val_r2", patience=2), validation=held, epochs=9)
    assert len(caught) == 1
    assert set(model.history["learning_rate"]) == {0.001}


def test_epochs_without_a_number_do_not_count_towards_a_reduction() -> None:
    plateau = cr.ReduceOnPlateau("val_script", mode="min", factor=0.5, patience=3)
    rates = scripted(4, NAN, 4, NAN, NAN, 4, 4, 4, callback=plateau).history["learning_rate"]
    np.testing.assert_allclose(np.asarray(rates), 0.001 * np.asarray([1] * 7 + [0.5]))
    with pytest.warns(UserWarning, match="val_script was no number"):
        scripted(4, NAN, NAN, NAN, NAN, callback=plateau)


@pytest.mark.parametrize("kind", [cr.EarlyStopping, cr.ReduceOnPlateau])
@pytest.mark.parametrize("values", [(0, 0, 0, 0, 0), (0, NAN, 1, 1, 1), (1, 1, 1, NAN, 1)], ids=str)
def test_of_a_metric_that_says_something_no_word_is_said(kind: Any, values: tuple[float, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scripted(*values, callback=kind("val_script", mode="min", patience=2))


@pytest.mark.parametrize("kind", [cr.EarlyStopping, cr.ReduceOnPlateau])
def test_a_column_that_will_not_be_there_is_refused_before_training(kind: Any) -> None:
    with pytest.raises(cr.ConfigurationError, match=r"unknown history column 'val_r': did you mean 'val_r2'\?"):
        fit(kind("val_r", mode="max"), NeverTrained(), validation=(X, Y))


def test_monitoring_a_validation_that_is_not_there_says_how_to_give_one() -> None:
    with pytest.raises(cr.ConfigurationError, match=r"val_loss.*validation=\(X, y\)"):
        fit(cr.ReduceOnPlateau(), NeverTrained())


# ------------------------------------------------------------------------------------------------------ ReduceOnPlateau


def test_reduce_on_plateau_multiplies_the_rate() -> None:
    plateau = cr.ReduceOnPlateau("val_script", mode="min", factor=0.5, patience=2)
    model = scripted(5, 4, 4, 4, 4, 4, 3, 3, callback=plateau)
    rates = [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]
    np.testing.assert_allclose(np.asarray(model.history["learning_rate"]), 0.001 * np.asarray(rates))


def test_reduce_on_plateau_stops_at_its_minimum() -> None:
    plateau = cr.ReduceOnPlateau("val_script", mode="min", factor=0.1, patience=1, minimum=0.05)
    model = scripted(1, 1, 1, 1, 1, callback=plateau)
    np.testing.assert_allclose(np.asarray(model.history["learning_rate"]), 0.001 * np.asarray([1, 1, 0.1, 0.05, 0.05]))


def test_reduce_on_plateau_ignores_improvements_below_min_delta() -> None:
    plateau = cr.ReduceOnPlateau("val_script", mode="max", factor=0.5, patience=1, min_delta=0.1)
    model = scripted(1, 1.05, 2, 3, callback=plateau)
    np.testing.assert_allclose(np.asarray(model.history["learning_rate"]), 0.001 * np.asarray([1, 1, 0.5, 0.5]))


def test_a_schedule_runs_on_underneath() -> None:
    plateau = cr.ReduceOnPlateau("val_script", mode="min", factor=0.5, patience=1)
    decay = {"optimizer": cr.SGD(cr.StepDecay(0.1, every=3, factor=0.1))}  # 3 steps an epoch
    script = Script(1, 1, 1)
    model = fit(plateau, metrics=[script], validation=(X, Y), epochs=3, **decay)
    np.testing.assert_allclose(model.history["learning_rate"], [0.1, 0.01, 0.0005])


@pytest.mark.parametrize(("mode", "best"), [("min", 1.0), ("max", 5.0)])
def test_the_best_has_the_metrics_own_sign(mode: Any, best: float) -> None:
    stopping = cr.EarlyStopping("val_script", mode=mode)
    assert stopping.best == {"min": np.inf, "max": -np.inf}[mode]
    scripted(3, 1, 5, 2, callback=stopping)
    assert stopping.best == best
