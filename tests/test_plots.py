"""Pictures are drawn without a display, without pyplot, and written."""

import builtins
import subprocess
import sys

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr
from chainrule._base.errors import DataError, MissingExtraError
from chainrule.diagnostics import diagnose

pytest.importorskip("matplotlib")

from chainrule.plots import plot_activation, plot_decision_regions, plot_diagnosis, plot_history, plot_rate

X = np.random.default_rng(0).normal(size=(50, 4))
RECORDS = [
    {"epoch": 1, "loss": 0.9, "val_loss": 1.0, "accuracy": 0.5, "val_accuracy": 0.4},
    {"epoch": 2, "loss": 0.5, "val_loss": 0.6, "accuracy": 0.7, "val_accuracy": 0.6},
    {"epoch": 3, "loss": 0.3, "val_loss": 0.8, "accuracy": 0.9, "val_accuracy": 0.7},
]


def written(figure, folder):
    figure.savefig(folder / "figure.png")
    return (folder / "figure.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_history_has_loss_left_accuracy_right_and_the_best_epoch(tmp_path):
    figure = plot_history(RECORDS)
    left, right = figure.axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("loss", "accuracy")
    assert labels(left) == ["training", "validation", "lowest validation loss, epoch 2"]
    np.testing.assert_array_equal(left.lines[0].get_xydata(), [[1, 0.9], [2, 0.5], [3, 0.3]])
    np.testing.assert_array_equal(left.lines[2].get_xydata(), [[2, 0.6]])
    np.testing.assert_array_equal(right.lines[2].get_xydata(), [[2, 0.6]])
    assert written(figure, tmp_path)


def test_history_draws_what_there_is(tmp_path):
    sparse = [{"epoch": k, "loss": 1.0 / k} | ({"val_loss": 1.0 / k} if k % 2 == 0 else {}) for k in (1, 2, 3, 4)]
    figure = plot_history([*sparse, {"epoch": 5, "loss": float("nan")}])
    (axes,) = figure.axes
    assert [len(line.get_xdata()) for line in axes.lines] == [4, 2, 1]
    assert written(plot_history([{"loss": 0.5}]), tmp_path)
    with pytest.raises(DataError, match="at least one epoch"):
        plot_history([])


def test_a_models_history_is_one():
    model = cr.fit(cr.mlp([4, 5, 1]), X, X[:, 0], loss="squared_error", epochs=3, validation=(X, X[:, 0]))
    assert len(plot_history(model.history).axes[0].lines[0].get_xdata()) == 3


def test_activation_and_derivative_side_by_side(tmp_path):
    figure = plot_activation("sigmoid")
    value, slope = figure.axes
    assert value.get_title(loc="left") == "sigmoid"
    z, a = value.lines[0].get_data()
    np.testing.assert_allclose(a, 1 / (1 + np.exp(-z)))
    np.testing.assert_allclose(slope.lines[0].get_ydata(), a * (1 - a))
    assert written(figure, tmp_path)
    mine = cr.Activation(lambda xp, z: z * z, lambda xp, z: 2 * z, name="square")
    many = plot_activation("step", cr.Tanh(), mine, "relu", low=-1, high=1)
    assert [axes.get_title(loc="left") for axes in many.axes[::2]] == ["step", "tanh", "square", "relu"]
    assert many.axes[1].texts[0].get_text() == "none to train by"


def test_diagnosis_has_a_histogram_for_every_layer(tmp_path):
    network = cr.mlp([4, 8, 8, 2], activation="tanh")
    assert len(plot_diagnosis(diagnose(network, X)).axes) == 3
    figure = plot_diagnosis(diagnose(network, X, X[:, :2], loss="squared_error"))
    assert len(figure.axes) == 6
    first, gradients, second = figure.axes[:3]
    assert first.get_xlim() == second.get_xlim()
    assert first.get_title(loc="left") == "1  Dense(4, 8), Tanh"
    # Every number of the sample is in the picture.
    assert sum(first.patches[0].get_data().values) == 50 * 8
    assert sum(gradients.patches[0].get_data().values) == 4 * 8
    assert written(figure, tmp_path)


def test_outliers_are_drawn_at_the_edge():
    x = np.random.default_rng(1).normal(size=(1000, 4))
    x[0] *= 1e4
    (axes,) = plot_diagnosis(diagnose(cr.Sequential(cr.Dense(4, 1)), x)).axes
    assert max(abs(limit) for limit in axes.get_xlim()) < 100
    assert sum(axes.patches[0].get_data().values) == 1000


def test_a_diagnosis_of_zeros_and_of_overflow_is_drawn(tmp_path):
    zeros = diagnose(cr.mlp([4, 8, 1], weight_init="zeros"), X, X[:, 0], loss="squared_error")
    figure = plot_diagnosis(zeros)
    assert [axes.texts[0].get_text() for axes in figure.axes[:2]] == ["all 0", "all 0"]
    assert written(figure, tmp_path)
    overflow = diagnose(cr.mlp([4, 8, 8, 8, 1], weight_init=cr.Normal(1e15)), X, X[:, 0], loss="squared_error")
    assert written(plot_diagnosis(overflow), tmp_path)


def test_decision_regions(tmp_path):
    def predict(points):
        return np.where(points[:, 0] > 0, "right", "left")

    y = predict(X)
    figure = plot_decision_regions(predict, X[:, :2], y, resolution=20, names=("width", "height"))
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("width", "height")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["left", "right"]
    picture = axes.images[0].get_array()
    assert picture.shape == (20, 20, 3)
    assert (picture[:, 0] != picture[:, -1]).any()
    assert sum(len(points.get_offsets()) for points in axes.collections) == 50
    assert written(figure, tmp_path)
    with pytest.raises(DataError, match="two features"):
        plot_decision_regions(predict, X, y)
    with pytest.raises(DataError, match="same number of rows"):
        plot_decision_regions(predict, X[:, :2], y[:5])


def test_a_model_an_estimator_and_their_predict_draw_the_same_regions(tmp_path):
    corners, y = np.asarray([[0.0, 0], [0, 1], [1, 0], [1, 1]]), [0, 1, 1, 0]
    model = cr.fit(cr.mlp([2, 4, 2]), corners, y, loss="softmax_cross_entropy", epochs=2)
    estimator = cr.MLPClassifier(max_iter=9, tol=9.9, n_iter_no_change=1, random_state=0).fit(corners, y)
    for given in (model, estimator):
        figures = [plot_decision_regions(one, corners, y, resolution=10) for one in (given, given.predict)]
        one, other = (figure.axes[0].images[0].get_array() for figure in figures)
        np.testing.assert_array_equal(one, other)
        assert written(figures[0], tmp_path)


def test_regions_of_arrays_on_a_device_are_those_on_the_host():
    find_library("array-api-strict", "array_api_strict")
    there = cr.backend("array-api-strict:device1")  # which NumPy's functions refuse
    corners, y = np.asarray([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.asarray([0, 1, 1, 0])
    model = cr.fit(cr.mlp([2, 4, 2]), corners, y, loss="softmax_cross_entropy", epochs=2)
    pictures = [
        plot_decision_regions(predict, X, classes, resolution=10).axes[0].images[0].get_array()
        for predict, X, classes in (
            (model, corners, y),
            (lambda x: model.predict(there.asarray(x)), there.asarray(corners), there.asarray(y, there.xp.int64)),
        )
    ]
    np.testing.assert_array_equal(*pictures)


def test_a_network_has_no_regions_and_says_what_has():
    with pytest.raises(TypeError, match=r"a network cannot be called: .*model = cr\.fit"):
        plot_decision_regions(cr.mlp([2, 2]), X[:, :2], X[:, 0] > 0)


def test_without_matplotlib_the_error_says_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def refuse(name, *arguments, **options):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"pip install 'chainrule\[plot\]'"):
        plot_history(RECORDS)


def test_importing_plots_imports_no_matplotlib_and_drawing_no_pyplot(tmp_path):
    code = (
        "import sys, chainrule.plots as p; assert 'matplotlib' not in sys.modules; "
        f"p.plot_activation('relu').savefig({str(tmp_path / 'a.png')!r}); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_range_test_has_its_curve_its_range_and_its_proposal(tmp_path):
    found = cr.find_rate(cr.mlp([4, 5, 1]), X, X[:, 0], loss="squared_error")
    figure = plot_rate(found)
    (axes,) = figure.axes
    assert labels(axes) == [
        "a batch",
        "smoothed",
        f"range, {found.low:g} to {found.high:g}",
        f"take {found.learning_rate:g}",
    ]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), np.stack([found.rates, found.losses], axis=1))
    assert axes.lines[2].get_xdata() == [found.learning_rate]
    assert axes.get_xscale() == "log"
    assert written(figure, tmp_path)
    hopeless = plot_rate(cr.find_rate(cr.mlp([4, 1], weight_init="zeros"), X, 0 * X[:, 0], loss="squared_error"))
    assert hopeless.axes[0].get_title(loc="left") == "no clear answer"
    assert written(hopeless, tmp_path)
