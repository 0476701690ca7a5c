"""``cr.from_pipeline``: a pipeline's scalers and its network as one model, and what cannot be one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr

find_library("scikit-learn", "sklearn")
preprocessing = importlib.import_module("sklearn.preprocessing")
pipelines = importlib.import_module("sklearn.pipeline")
compose = importlib.import_module("sklearn.compose")
make_pipeline, StandardScaler = pipelines.make_pipeline, preprocessing.StandardScaler

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(12)
X = RNG.normal(size=(120, 4)) * [1.0, 1e3, 1e-4, 0.0] + [5.0, -2e4, 0.0, 7.0]  # the last column is constant
SIDES = np.where(X[:, 0] * 1e3 > X[:, 1] + 2.5e4, "over", "under")
CLASSES = np.digitize(X[:, 0], [4.5, 5.5])
SEVERAL = np.stack([X[:, 0] > 5, X[:, 1] > -2e4, X[:, 2] > 0], axis=1).astype(int)
NUMBERS = X[:, 0] ** 2 + X[:, 1] / 1e3

SCALERS: dict[str, list[Any]] = {
    "standard": [StandardScaler()],
    "min and max": [preprocessing.MinMaxScaler((-1, 3))],
    "robust": [preprocessing.RobustScaler(unit_variance=True)],
    "largest": [preprocessing.MaxAbsScaler()],
    "half of each": [
        StandardScaler(with_mean=False),
        preprocessing.RobustScaler(with_scaling=False),
        StandardScaler(with_std=False),
        preprocessing.RobustScaler(with_centering=False),
    ],
    "nothing": ["passthrough", StandardScaler(with_mean=False, with_std=False), None],
    "all in a row": [
        preprocessing.MaxAbsScaler(),
        preprocessing.MinMaxScaler(),
        make_pipeline("passthrough", StandardScaler()),
        preprocessing.RobustScaler(),
    ],
    "none": [],
}


def network(name: str = "MLPClassifier", **settings: Any) -> Any:
    settings = {"hidden_layer_sizes": (6,), "max_iter": 20, "random_state": 0, "learning_rate_init": 0.05, **settings}
    return getattr(cr, name)(**settings)


def assert_same_answers(model: cr.Model, pipeline: Any, given: Any, rtol: float = 1e-9) -> None:
    want, got = pipeline.predict(given), model.predict(given)
    if want.dtype.kind == "f":
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol)
        return
    np.testing.assert_array_equal(got, want)
    scaled = pipeline[:-1].transform(given) if len(pipeline) > 1 else given
    p = pipeline[-1].model_.predict_proba(np.asarray(scaled))
    np.testing.assert_allclose(model.predict_proba(given), p, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("scalers", SCALERS.values(), ids=SCALERS)
def test_it_answers_as_the_pipeline_does(scalers: list[Any], tmp_path: Path) -> None:
    pipeline = make_pipeline(*scalers, network(activation="tanh")).fit(X, SIDES)
    cr.from_pipeline(pipeline).save(tmp_path / "pipeline.safetensors")
    model = cr.load(tmp_path / "pipeline.safetensors")
    assert_same_answers(model, pipeline, X)
    assert model.classes == ("over", "under")


@pytest.mark.parametrize(
    ("name", "y", "settings"),
    [
        ("MLPClassifier", CLASSES, {}),
        ("MLPClassifier", CLASSES, {"hidden_layer_sizes": (), "solver": "lbfgs"}),
        ("MLPClassifier", SEVERAL, {"dropout": 0.2}),
        ("MLPClassifier", CLASSES, {"normalization": "batch"}),
        ("MLPClassifier", CLASSES, {"normalization": "layer", "hidden_layer_sizes": (6, 5)}),
        ("MLPRegressor", NUMBERS, {}),
        ("MLPRegressor", np.stack([NUMBERS, -NUMBERS], axis=1), {"activation": ["gelu"]}),
        ("MLPRegressor", np.abs(NUMBERS), {"loss": "poisson", "learning_rate_init": 1e-3}),
        ("MLPRegressor", NUMBERS, {"output_activation": "softplus"}),
    ],
    ids=lambda value: None if isinstance(value, np.ndarray) else str(value),
)
def test_so_does_every_kind_of_network(name: str, y: np.ndarray, settings: dict[str, Any]) -> None:
    pipeline = make_pipeline(StandardScaler(), preprocessing.MinMaxScaler(), network(name, **settings)).fit(X, y)
    assert_same_answers(cr.from_pipeline(pipeline), pipeline, X)


def test_what_was_trained_in_float32_is_folded_in_float64() -> None:
    far = X + np.asarray([0, 1e6, 0, 0])  # float32 has no digits left of the second column
    pipeline = make_pipeline(StandardScaler(), network(dtype="float32")).fit(far, SIDES)
    model = cr.from_pipeline(pipeline)
    assert model.theta.dtype == np.float64
    assert_same_answers(model, pipeline, far, rtol=1e-5)


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_it_lies_on_numpy_wherever_it_was_trained(library: str) -> None:
    find_library(library)
    pipeline = make_pipeline(StandardScaler(), network(backend=library, dtype="float32")).fit(X, SIDES)
    model = cr.from_pipeline(pipeline)
    assert isinstance(model.theta, np.ndarray)
    assert_same_answers(model, pipeline, X, rtol=1e-4)


@pytest.mark.parametrize("output", ["default", "pandas"])
@pytest.mark.parametrize("first", [StandardScaler(), "passthrough"])
def test_it_knows_the_columns_that_the_pipeline_was_given(output: str, first: Any) -> None:
    frame = find_library("pandas").DataFrame(X, columns=["width", "height", "depth", "age"])
    pipeline = make_pipeline(first, StandardScaler(), network()).set_output(transform=output).fit(frame, SIDES)
    model = cr.from_pipeline(pipeline)
    assert model.feature_names == ("width", "height", "depth", "age")
    np.testing.assert_array_equal(model.predict(frame), pipeline.predict(frame))
    with pytest.raises(cr.DataError, match="columns"):
        model.predict(frame[frame.columns[::-1]])


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize(
    "transformer",
    [
        StandardScaler(),
        preprocessing.MinMaxScaler((2, 5)),
        preprocessing.RobustScaler(),
        StandardScaler(with_std=False),
    ],
    ids=str,
)
def test_scaled_targets_are_folded_into_the_last_layer(transformer: Any, outputs: int) -> None:
    y = 1e4 + 1e3 * (NUMBERS if outputs == 1 else np.stack([NUMBERS, -0.5 * NUMBERS], axis=1))
    frame = find_library("pandas").DataFrame(X, columns=["width", "height", "depth", "age"])
    inside = make_pipeline(
        StandardScaler(), compose.TransformedTargetRegressor(network("MLPRegressor"), transformer=transformer)
    )
    around = compose.TransformedTargetRegressor(
        make_pipeline(StandardScaler(), network("MLPRegressor")), transformer=transformer
    )
    for pipeline in (inside.fit(frame, y), around.fit(frame, y)):
        model = cr.from_pipeline(pipeline)
        assert_same_answers(model, pipeline, frame, rtol=1e-9)
        assert model.feature_names == tuple(frame.columns)
        assert model.evaluate(frame, y)["r2"] == pytest.approx(
            importlib.import_module("sklearn.metrics").r2_score(
                y, pipeline.predict(frame), multioutput="variance_weighted"
            )
        )


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
def test_a_column_of_targets_is_answered_as_one() -> None:
    scaled = compose.TransformedTargetRegressor(network("MLPRegressor"), transformer=StandardScaler())
    scaled.fit(X, NUMBERS[:, None])
    assert_same_answers(cr.from_pipeline(scaled), scaled, X)
    assert cr.from_pipeline(scaled).predict(X).shape == (120, 1)


def unfitted() -> Any:
    return make_pipeline(StandardScaler(), network())


def half_fitted() -> Any:
    return make_pipeline(StandardScaler().fit(X), network())


def fitted(*steps: Any) -> Callable[[], Any]:
    return lambda: make_pipeline(*steps, network()).fit(np.abs(X), SIDES)


def of_another_kind() -> Any:
    decomposition = importlib.import_module("sklearn.decomposition")
    return make_pipeline(StandardScaler(), decomposition.PCA(2), network()).fit(X, SIDES)


def with_columns_apart() -> Any:
    apart = compose.ColumnTransformer([("scaled", StandardScaler(), [0, 1])], remainder="passthrough")
    return make_pipeline(apart, network()).fit(X, SIDES)


def with_targets(transformer: Any = None, y: Any = NUMBERS, function: Any = None, **settings: Any) -> Any:
    inverse = None if function is None else np.exp
    scaled = compose.TransformedTargetRegressor(
        network("MLPRegressor", **settings), transformer=transformer, func=function, inverse_func=inverse
    )
    return make_pipeline(StandardScaler(), scaled).fit(X, y)


def searched() -> Any:
    selection = importlib.import_module("sklearn.model_selection")
    return selection.GridSearchCV(unfitted(), {"mlpclassifier__alpha": [0.1]}, cv=2).fit(X, SIDES)


class Doubled(StandardScaler):  # type: ignore[misc, valid-type]
    """A scaler of the user's own, which does something else."""

    def transform(self, X: Any, copy: Any = None) -> Any:
        return 2.0 * super().transform(X)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no pipeline": (lambda: network().fit(X, SIDES), "expected a Pipeline of scikit-learn, got MLPClassifier"),
    "a search": (searched, "search.best_estimator_, got GridSearchCV"),
    "another last step": (lambda: make_pipeline(StandardScaler()).fit(X), "last step must be .*'standardscaler'"),
    "no step": (lambda: pipelines.Pipeline([("end", "passthrough")]), "last step must be"),
    "targets by a function": (
        lambda: with_targets(y=np.abs(NUMBERS) + 1, function=np.log),
        r"step 'transformedtargetregressor.transformer' \(FunctionTransformer\)",
    ),
    "targets by a link": (
        lambda: with_targets(preprocessing.MaxAbsScaler(), np.abs(NUMBERS), loss="poisson", learning_rate_init=1e-3),
        "output that is linear",
    ),
    "targets by an activation": (
        lambda: with_targets(preprocessing.MinMaxScaler(), output_activation="sigmoid"),
        "output that is linear",
    ),
    "targets of another regressor": (
        lambda: compose.TransformedTargetRegressor().fit(X, NUMBERS),
        r"got '.regressor' \(LinearRegression\)",
    ),
    "targets not fitted": (
        lambda: compose.TransformedTargetRegressor(network("MLPRegressor")),
        r"\(TransformedTargetRegressor\) is not fitted",
    ),
    "not fitted": (unfitted, r"'mlpclassifier' \(MLPClassifier\) is not fitted: call fit"),
    "half fitted": (half_fitted, r"'mlpclassifier' \(MLPClassifier\) is not fitted: call fit"),
    "a projection": (of_another_kind, r"step 'pca' \(PCA\) does more .* use skops or joblib"),
    "columns apart": (with_columns_apart, r"step 'columntransformer' \(ColumnTransformer\) does more"),
    "a function": (fitted(preprocessing.FunctionTransformer(np.log1p)), "FunctionTransformer"),
    "quantiles": (fitted(preprocessing.QuantileTransformer(n_quantiles=20)), "QuantileTransformer"),
    "a normaliser of rows": (fitted(preprocessing.Normalizer()), "Normalizer"),
    "a clip": (fitted(preprocessing.MinMaxScaler(clip=True)), r"'minmaxscaler' .* clip=True"),
    "a scaler of one's own": (fitted(Doubled()), "'doubled'"),
    "one inside": (fitted(make_pipeline(preprocessing.Normalizer())), r"step 'pipeline.normalizer'"),
}


if "clip" in preprocessing.MaxAbsScaler().get_params():  # since scikit-learn 1.9
    REFUSED["another clip"] = (fitted(preprocessing.MaxAbsScaler(clip=True)), r"'maxabsscaler' .* clip=True")


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_one_model_is_refused_by_name(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(cr.ConfigurationError, match=message):
        cr.from_pipeline(make())


def test_a_column_that_would_lose_its_digits_is_refused_by_name() -> None:
    frame = find_library("pandas").DataFrame(X[:, :2], columns=["width", "second"])
    frame["second"] = 1.7e9 + RNG.normal(size=120) * 1e-2
    pipeline = make_pipeline(StandardScaler(), network()).fit(frame, SIDES)
    with pytest.raises(cr.ConfigurationError, match="column 'second' is shifted"):
        cr.from_pipeline(pipeline)
