"""A trained model is a value: it answers, is compared, and moves, and nothing changes it."""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Platform, central_differences, find_library

import chainrule as cr
from chainrule._backend import reference_backend as backend
from chainrule.losses import LOSSES

LIBRARY_TARGETS = ("numpy", "torch", "jax-jit", "strictest-float32")
RNG = np.random.default_rng(1618)
X = RNG.normal(size=(30, 4)).astype("float32")
LABELS = np.arange(30) % 3


def initial(network: cr.Sequential, loss: str, **fields: Any) -> cr.Model:
    """A model that was never trained: its answers have the same laws, and cost nothing."""
    on = backend("numpy")
    theta, buffers = network.initial_theta(0), network.initial_buffers()
    return cr.Model(network, on.asarray(theta), on.asarray(buffers), LOSSES[loss], on, **fields)


CLASSES = initial(cr.mlp([4, 8, 3], normalization="batch"), "softmax_cross_entropy")
SEVERAL = initial(cr.mlp([4, 8, 2]), "sigmoid_cross_entropy", flat=False)
BINARY = initial(cr.mlp([4, 8, 1]), "sigmoid_cross_entropy")
NUMBER = initial(cr.mlp([4, 8, 1]), "squared_error")
COLUMN = initial(cr.mlp([4, 8, 1]), "squared_error", flat=False)
COUNTS = initial(cr.mlp([4, 8, 1]), "poisson")


@pytest.mark.parametrize(
    ("model", "shape"),
    [(CLASSES, (30,)), (SEVERAL, (30, 2)), (BINARY, (30,)), (NUMBER, (30,)), (COLUMN, (30, 1)), (COUNTS, (30,))],
)
def test_predictions_have_the_shape_of_the_targets(model: cr.Model, shape: tuple[int, ...]) -> None:
    assert model.predict(X).shape == shape


@pytest.mark.parametrize(("model", "shape"), [(CLASSES, (30, 3)), (SEVERAL, (30, 2)), (BINARY, (30,))])
def test_probabilities_are_the_decisions_before_they_are_made(model: cr.Model, shape: tuple[int, ...]) -> None:
    p = model.predict_proba(X)
    assert p.shape == shape
    assert ((p > 0) & (p < 1)).all()
    decided = np.argmax(p, axis=1) if model is CLASSES else (p > 0.5)
    np.testing.assert_array_equal(model.predict(X), decided)


def test_probabilities_of_classes_sum_to_one() -> None:
    np.testing.assert_allclose(CLASSES.predict_proba(100 * X).sum(axis=1), 1.0, rtol=1e-6)


def test_counts_are_predicted_after_the_exponential() -> None:
    np.testing.assert_allclose(COUNTS.predict(X), np.exp(NUMBER.predict(X)), rtol=1e-5)


def test_numbers_have_no_probabilities() -> None:
    with pytest.raises(cr.ConfigurationError, match=r"SquaredError predicts numbers, not probabilities: use predict"):
        NUMBER.predict_proba(X)


@pytest.mark.parametrize("id", LIBRARY_TARGETS)
def test_answers_come_in_the_library_and_on_the_device_of_the_question(
    id: str, open_platform: Callable[..., Platform]
) -> None:
    platform = open_platform(id)
    for model in (NUMBER, NUMBER.to(platform.backend)):
        platform.check(model.predict(platform.array(X)), NUMBER.predict(X), rtol=1e-5, atol=1e-6)
        assert isinstance(model.predict(X), np.ndarray)
        assert isinstance(model.predict(X.tolist()), np.ndarray)


def test_moving_from_library_to_library_changes_no_number(open_platform: Callable[..., Platform]) -> None:
    model = CLASSES
    for id in (*LIBRARY_TARGETS, "numpy"):
        platform = open_platform(id)
        model = model.to(platform.backend)
        assert platform.backend.library.owns(model.theta)
        assert model == CLASSES
        probabilities = model.predict_proba(X)
        np.testing.assert_allclose(probabilities, CLASSES.predict_proba(X), rtol=1e-5, atol=1e-6)


def test_to_makes_a_copy_by_name_device_and_dtype() -> None:
    wide = NUMBER.to(dtype="float64")
    assert (wide.backend.name, wide.theta.dtype) == ("numpy", np.float64)
    assert wide != NUMBER
    assert wide.to(dtype="float32") == NUMBER
    assert not np.shares_memory(NUMBER.to().theta, NUMBER.theta)


def test_models_are_equal_when_everything_but_their_history_is() -> None:
    def train(**options: Any) -> cr.Model:
        net = cr.mlp([4, 3])
        return cr.fit(net, X, LABELS, **{"loss": "softmax_cross_entropy", "epochs": 1, **options})

    model = train()
    assert model == train()
    assert model != train(seed=1)
    assert model != train(loss=cr.SoftmaxCrossEntropy(label_smoothing=0.1))
    assert model != "a model"
    assert hash(model) == hash(train())


@pytest.mark.parametrize("model", [CLASSES, BINARY, NUMBER])
def test_evaluate_measures_what_predict_answers(model: cr.Model) -> None:
    y = LABELS if model is CLASSES else LABELS // 2 if model is BINARY else LABELS.astype(float)
    measured, answers = model.evaluate(X, y), model.predict(X)
    if model is NUMBER:
        assert measured["loss"] == pytest.approx(0.5 * np.mean((answers - y) ** 2), rel=1e-6)
        assert measured["r2"] == pytest.approx(1 - np.sum((answers - y) ** 2) / np.sum((y - y.mean()) ** 2), rel=1e-5)
    else:
        assert measured["accuracy"] == pytest.approx(np.mean(answers == y))
        p = model.predict_proba(X)
        p = p[np.arange(30), y] if model is CLASSES else np.where(y, p, 1 - p)
        assert measured["loss"] == pytest.approx(-np.mean(np.log(p)), rel=1e-5)


def test_evaluate_takes_metrics_by_name_and_of_your_own() -> None:
    def worst(y: np.ndarray, answers: np.ndarray) -> float:
        return float(np.max(np.abs(y - answers)))

    y = LABELS.astype(float)
    measured = NUMBER.evaluate(X, y, metrics=["mae", worst])
    assert list(measured) == ["loss", "mae", "worst"]
    assert measured["worst"] == pytest.approx(np.max(np.abs(NUMBER.predict(X) - y)))


def test_evaluating_one_class_is_allowed() -> None:
    assert 0.0 <= CLASSES.evaluate(X[:5], np.zeros(5, dtype=int))["accuracy"] <= 1.0


def test_evaluating_a_constant_target_is_silent() -> None:
    assert NUMBER.evaluate(X, np.zeros(30))["r2"] == 0.0
    assert np.isnan(NUMBER.evaluate(X[:1], np.zeros(1))["r2"])


# 3 inputs to a layer of width 3, 3 to 2, 2 to 1: 3n + 3, 3 * 2 + 2, 2 + 1.
@pytest.mark.parametrize("n", [1, 5, 64 * 64 * 3])
def test_a_network_3_2_1_behind_n_inputs_has_3n_plus_14_parameters(n: int) -> None:
    assert cr.mlp([n, 3, 2, 1]).size == 3 * n + 14


def test_an_image_of_64_by_64_pixels_in_3_colours_is_12288_inputs() -> None:
    images = RNG.random((2, 64, 64, 3))
    model = initial(cr.mlp([12_288, 3, 2, 1], activation="sigmoid"), "sigmoid_cross_entropy")
    assert model.predict(images.reshape(2, -1)).shape == (2,)
    with pytest.raises(cr.DataError, match=r"\(rows, features\), got \(2, 64, 64, 3\)"):
        model.predict(images)


def test_summary_counts_the_parameters_and_says_where_the_model_runs() -> None:
    text = initial(cr.mlp([12_288, 3, 2, 1]), "squared_error").summary()
    assert "36,878" in text
    assert "Dense(12288, 3)" in text
    assert "36,872" in text  # 12288 * 3 + 3 * 2 + 2 * 1
    assert text.endswith("loss SquaredError on Backend(numpy, device=cpu, dtype=float32, compiled)")


def test_summary_shows_the_shapes_of_a_batch() -> None:
    model = initial(cr.mlp([4, 3, 2], normalization="batch", dropout=0.1), "squared_error")
    lines = model.summary(rows=2_000).split("\n")
    assert [line[line.index("(2") :].split("  ")[0] for line in lines[2:-2]] == ["(2,000, 3)"] * 4 + ["(2,000, 2)"]
    assert [line.split()[-1] for line in lines[2:-2]] == ["12", "0", "0", "0", "6"]
    with pytest.raises(cr.ConfigurationError, match="rows must be a whole number >= 1, got 0"):
        model.summary(rows=0)


@pytest.mark.parametrize("rows", [1, 4095, 4096, 4097, 10_001])
def test_many_rows_are_predicted_as_if_one_by_one(rows: int) -> None:
    many = RNG.normal(size=(rows, 4)).astype("float32")
    answers = NUMBER.predict(many)
    assert answers.shape == (rows,)
    some = np.unique(np.linspace(0, rows - 1, 50, dtype=int))
    one_by_one = np.concatenate([NUMBER.predict(many[i : i + 1]) for i in some])
    np.testing.assert_allclose(answers[some], one_by_one, rtol=1e-4, atol=1e-6)


def test_two_threads_predict_with_one_model_while_a_third_trains_it_further() -> None:
    want, theta = CLASSES.predict_proba(X), CLASSES.theta.copy()

    def train() -> cr.Model:
        return cr.fit(CLASSES, X, LABELS, epochs=30, batch_size=8)

    def predict() -> bool:
        return all(np.array_equal(CLASSES.predict_proba(X), want) for _ in range(200))

    with ThreadPoolExecutor(3) as pool:
        trained, *same = [pool.submit(train), pool.submit(predict), pool.submit(predict)]
        assert all(answer.result() for answer in same)
    assert trained.result() == train()
    np.testing.assert_array_equal(CLASSES.theta, theta)


@pytest.mark.parametrize("platform", ["numpy", "torch", "jax-jit", "strictest-float64"], indirect=True)
def test_a_pickled_model_comes_back_to_its_own_backend(platform: Platform) -> None:
    net = cr.mlp([4, 8, 3], normalization="batch", dropout=0.1)
    model = cr.fit(net, X, LABELS, loss="softmax_cross_entropy", epochs=1, backend=platform.backend)
    back = pickle.loads(pickle.dumps(model))
    assert back == model
    assert back.backend == model.backend
    np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))


def written_to(array: Any) -> None:
    """As a user would try it, by all means: what is refused is refused, and what is not must change nothing."""
    with contextlib.suppress(ValueError, AttributeError):
        array.flags.writeable = True
    with contextlib.suppress(ValueError, TypeError):
        array[...] = 0.0
    with contextlib.suppress(ValueError, TypeError):
        array *= 0.0


def from_file(model: cr.Model, tmp_path: Path) -> cr.Model:
    model.save(tmp_path / "m.safetensors")
    return cr.load(tmp_path / "m.safetensors", backend=model.backend)


SOURCES: dict[str, Callable[[cr.Model, Path], cr.Model]] = {
    "fit": lambda model, _: model,
    "fit further": lambda model, _: cr.fit(model, X, LABELS, epochs=1),
    "load": from_file,
    "to": lambda model, _: model.to(),
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "copy": lambda model, _: copy.copy(model),
    "replace": lambda model, _: replace(model, flat=False),
}


@pytest.mark.parametrize(
    ("id", "source"),
    [
        *itertools.product(("numpy", "torch", "strictest-float32"), SOURCES),
        ("jax-jit", "fit"),
        ("cupy-stand-in", "fit"),
    ],
)
def test_one_model_never_answers_in_two_ways(
    id: str, source: str, open_platform: Callable[..., Platform], tmp_path: Path
) -> None:
    """What is written into its numbers is refused, or changes nothing: not some passes, and not what is saved."""
    on = open_platform(id).backend
    net = cr.mlp([4, 5, 3], normalization="batch")
    model = cr.fit(net, X, LABELS, loss="softmax_cross_entropy", epochs=1, backend=on)
    model = SOURCES[source](model, tmp_path)
    before = [model.predict_proba(X) for _ in range(3)]
    for array in (model.theta, model.buffers):
        written_to(array)
        if isinstance(array, np.ndarray):
            assert not array.flags.writeable
    for pieces in model.network.layout.split(model.backend, model.theta):
        for piece in pieces:
            written_to(piece)
    answers = [model.predict_proba(X) for _ in range(3)] + [model.predict_proba(X[:7]), model.predict_proba(X[:7])]
    for got in [
        *answers,
        from_file(model, tmp_path).predict_proba(X),
        pickle.loads(pickle.dumps(model)).predict_proba(X),
    ]:
        np.testing.assert_allclose(got, before[0][: len(got)], rtol=1e-5)
    right = np.mean(np.argmax(before[0], axis=1) == LABELS)
    assert model.evaluate(X, LABELS)["accuracy"] == pytest.approx(right)


@pytest.mark.parametrize("id", ["numpy", "torch", "jax-jit", "strictest-float32"])
def test_a_model_made_of_somebodys_arrays_keeps_its_own(id: str, open_platform: Callable[..., Platform]) -> None:
    on, net = open_platform(id).backend, cr.mlp([4, 5, 3])
    theta = on.asarray(net.initial_theta(0))
    model = cr.Model(net, theta, on.zeros((0,)), LOSSES["softmax_cross_entropy"], on)
    before = model.predict_proba(X)
    with contextlib.suppress(TypeError):  # JAX's cannot be written to
        theta[...] = 0.0
    np.testing.assert_array_equal(model.predict_proba(X[:9]), before[:9])
    assert np.any(on.to_numpy(model.theta))


def test_the_models_of_a_training_are_read_only_everywhere(tmp_path: Path) -> None:
    found: list[cr.Model] = []

    class Keeps:
        def on_epoch_end(self, run: Any, record: Any) -> None:
            found.append(run.model())

    options: dict[str, Any] = {"epochs": 2, "callbacks": [Keeps()], "checkpoint": tmp_path, "validation": (X, LABELS)}
    cr.fit(cr.mlp([4, 5, 3]), X, LABELS, loss="softmax_cross_entropy", **options)
    with pytest.raises(cr.DivergenceError) as caught:
        cr.fit(cr.mlp([4, 5, 1]), X, X[:, 0], loss="squared_error", optimizer=cr.SGD(1e30))
    estimator = cr.MLPClassifier(hidden_layer_sizes=(4,)).partial_fit(X, LABELS, classes=[0, 1, 2])
    last = [cr.load(path) for path in tmp_path.glob("*.safetensors")]
    for model in (*found, *last, caught.value.model, estimator.model_):
        assert not model.theta.flags.writeable
        assert not model.buffers.flags.writeable
    assert len(last) == 2
    assert not any(array.flags.writeable for array in (*estimator.coefs_, *estimator.intercepts_))


@pytest.mark.parametrize("id", ["numpy", "torch", "jax-jit", "strictest-float32"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_model_whose_numbers_are_not_finite_does_not_answer(
    number: float, id: str, open_platform: Callable[..., Platform], tmp_path: Path
) -> None:
    """Its outputs are NaN, of which the first class is as large as any."""
    on = open_platform(id).backend
    for model, part in ((CLASSES, "theta"), (CLASSES, "buffers"), (BINARY, "theta"), (NUMBER, "theta")):
        numbers = np.array(getattr(model, part))
        numbers[-1] = number
        lost = replace(model, **{part: numbers}).to(on)
        lost.save(tmp_path / "lost.safetensors")
        for one in (lost, cr.load(tmp_path / "lost.safetensors", backend=on), pickle.loads(pickle.dumps(lost))):
            says = rf"cannot predict: 1 of the \d+ numbers of its {part} are NaN or infinite"
            for ask in (one.predict, lambda X, one=one: one.evaluate(X, LABELS % 2)):
                for _ in range(2):
                    with pytest.raises(cr.DataError, match=says):
                        ask(X)


HUGE = np.where(np.arange(30)[:, None] % 10 == 3, np.copysign(np.float32(3e38), X), X)


@pytest.mark.parametrize("id", ["numpy", "torch", "jax-jit", "strictest-float32"])
@pytest.mark.parametrize("model", [initial(cr.mlp([4, 8, 3]), "softmax_cross_entropy"), SEVERAL, BINARY])
def test_a_row_whose_outputs_overflow_has_no_class(
    model: cr.Model, id: str, open_platform: Callable[..., Platform]
) -> None:
    model = replace(model, theta=10.0 * model.theta).to(open_platform(id).backend)
    named = replace(model, classes=("no", "yes", "maybe")[: max(2, model.network.n_out)])
    says = r"not finite in float32 for 3 of 30 rows \(3, 13, 23\), so these have no class: they reach 3e\+38, give X"
    for one in (model, named):
        for _ in range(3):
            with pytest.raises(cr.DataError, match=says):
                one.predict(HUGE)
    assert np.isnan(model.predict_proba(HUGE)[3]).any()  # where it can be seen
    np.testing.assert_array_equal(model.predict(X), np.asarray(model.predict(X)))
    called: list[np.ndarray] = []
    targets = np.zeros((30, 2)) if model is SEVERAL else LABELS % 2
    if model.network.n_out != 2:
        found = model.evaluate(HUGE, targets, metrics=[lambda y, answers: called.append(answers) or 1.0])
        assert np.isnan(found["lambda"])
        assert not called  # scikit-learn's would count the row as a class


def test_infinite_outputs_of_one_class_alone_are_no_class_either() -> None:
    net = cr.Sequential(cr.Dense(2, 2))
    model = cr.Model(
        net, np.asarray([1e30, 0, 0, 1e30, 0, 0]), np.zeros(0), LOSSES["softmax_cross_entropy"], cr.backend()
    )
    assert model.predict([[1e3, 1.0], [1.0, 1e3]]).tolist() == [0, 1]
    for row in ([1e20, 1e20], [-1e20, -1e20], [1e20, 1.0]):
        with pytest.raises(cr.DataError, match=r"for 1 of 2 rows \(1\)"):
            model.predict([[1.0, 0.0], row])


def test_jax_follows_what_a_model_on_jax_answers() -> None:
    """jit, vmap and grad of predict: the answers, and a gradient that is central differences'."""
    jax = find_library("jax")
    several, number = CLASSES.to("jax"), initial(cr.mlp([4, 8, 1], activation="gelu"), "squared_error")
    np.testing.assert_array_equal(jax.jit(several.predict)(X), CLASSES.predict(X))
    np.testing.assert_allclose(jax.jit(several.predict_proba)(X), CLASSES.predict_proba(X), atol=1e-6)
    np.testing.assert_array_equal(jax.vmap(several.predict)(X[:, None, :])[:, 0], CLASSES.predict(X))
    slope = jax.grad(lambda x: number.to("jax").predict(x[None])[0])(jax.numpy.asarray(X[3]))
    exact = number.to(dtype="float64")
    np.testing.assert_allclose(
        slope, central_differences(lambda x: exact.predict(x[None])[0], X[3].astype(float)), 1e-4
    )
    for _ in range(3):  # no tracer was kept
        np.testing.assert_array_equal(several.predict(X), CLASSES.predict(X))


def test_torch_follows_what_a_model_on_torch_answers() -> None:
    torch = find_library("torch")
    number = initial(cr.mlp([4, 8, 1], activation="gelu"), "squared_error")
    on_torch, exact = number.to("torch"), number.to(dtype="float64")
    wanted = central_differences(lambda x: exact.predict(x[None])[0], X[3].astype(float))
    x = torch.tensor(X, requires_grad=True)
    assert not on_torch.predict(x).requires_grad
    on_torch.network.apply(on_torch.backend, on_torch.theta, on_torch.buffers, x).sum().backward()
    np.testing.assert_allclose(x.grad[3], wanted, rtol=1e-4)
    slope = torch.func.grad(lambda x: on_torch.predict(x[None])[0])(torch.tensor(X[3]))
    np.testing.assert_allclose(slope, wanted, rtol=1e-4)
    mapped = torch.func.vmap(CLASSES.to("torch").predict)(torch.tensor(X)[:, None, :])[:, 0]
    np.testing.assert_array_equal(mapped, CLASSES.predict(X))
    compiled = torch.compile(CLASSES.to("torch").predict_proba, backend="eager")(torch.tensor(X))
    np.testing.assert_allclose(compiled, CLASSES.predict_proba(X), atol=1e-6)


def test_what_cannot_be_followed_says_what_to_do() -> None:
    jax, torch = find_library("jax"), find_library("torch")
    named = replace(CLASSES, classes=("a", "b", "c")).to("jax")
    inside = r"jax\.jit, vmap or grad follows.*model\.to\('jax'\).*outside"
    fit: Callable[[Any], Any] = lambda X: cr.fit(CLASSES, X, LABELS)  # noqa: E731
    for ask, says in (
        (
            lambda: jax.jit(CLASSES.predict)(X),
            r"jax follows .* a model on numpy does not allow: ask model\.to\('jax'\)",
        ),
        (lambda: jax.vmap(CLASSES.predict_proba)(X), r"jax follows .* ask model\.to\('jax'\)"),
        (lambda: torch.func.vmap(NUMBER.predict)(torch.tensor(X)[None]), r"torch follows .* ask model\.to\('torch'\)"),
        (lambda: jax.vmap(CLASSES.to("jax").predict)(X), r"X must have shape \(rows, features\), got \(4,\)"),
        (lambda: jax.jit(named.predict)(X), inside),
        (lambda: jax.jit(lambda X: CLASSES.to("jax").evaluate(X, LABELS))(X), inside),
        (lambda: jax.jit(fit)(X), inside),
        (lambda: jax.jit(lambda X: cr.diagnose(CLASSES, X))(X), inside),
        (lambda: torch.func.vmap(lambda x: cr.fit(NUMBER, x, x[:, 0]))(torch.tensor(X)[None]), r"torch\.func follows"),
    ):
        with pytest.raises(cr.DataError, match=says):
            ask()


def test_jax_trains_where_its_default_device_is() -> None:
    find_library("jax")
    script = """
        import numpy as np, jax, chainrule as cr
        from chainrule._backend import _jax
        devices = jax.devices()
        def found(device=None):
            return cr.backend("jax", device=device).device
        assert found() == devices[0]
        with jax.default_device(devices[1]):
            assert found() == devices[1]
        jax.config.update("jax_default_device", devices[2])
        X = np.arange(12.0).reshape(6, 2) / 12
        net = cr.mlp([2, 3, 1], dropout=0.1)
        model = cr.fit(net, X, X[:, 0], loss="squared_error", epochs=1, backend="jax")
        for one in (model, model.to("numpy").to("jax")):
            assert one.theta.devices() == one.buffers.devices() == {devices[2]}
        assert found(0) == found("cpu") == devices[0]
        assert found("cpu:3") == found(devices[3]) == devices[3]
        jax.config.update("jax_default_device", "cpu")
        assert found() == devices[0]
        gpu = type("GPU", (), {"platform": "gpu", "id": 0, "__str__": lambda self: "cuda:0"})()
        jax.devices = lambda name=None: {None: [gpu], "cpu": devices}[name]  # a machine with a GPU
        assert found("cpu") == devices[0]
        assert {_jax.find_device(name) for name in ("cuda", "gpu", "cuda:0", "gpu:0", 0, gpu)} == {gpu}
    """
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_dtype_that_cannot_hold_the_numbers_is_refused(tmp_path: Path) -> None:
    wide = cr.backend("numpy", dtype="float64")
    model = cr.fit(cr.mlp([1, 1]), [[0.0], [1.0]], [0.0, 1.0], loss="squared_error", backend=wide, epochs=1)
    large = replace(model, theta=model.theta + 1e300)
    steep = replace(model, network=cr.Sequential(cr.Dense(1, 1), cr.LeakyReLU(1e300)))
    large.save(tmp_path / "large.safetensors")
    for call in (lambda: large.to(dtype="float32"), lambda: cr.load(tmp_path / "large.safetensors", dtype="float32")):
        with pytest.raises(cr.DataError, match=r"float32 cannot hold 2 of the model's numbers, up to 1e\+300"):
            call()
    with pytest.raises(cr.ConfigurationError, match="LeakyReLU: alpha must be"):
        steep.to(dtype="float32")
    assert large.to("numpy") == cr.load(tmp_path / "large.safetensors") == large


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_rows_without_a_class_are_no_class_anywhere(loss: str) -> None:
    outputs = 2 if loss == "softmax_cross_entropy" else 1
    model = cr.fit(cr.mlp([4, 5, outputs]), X, LABELS % 2, loss=loss, epochs=1)
    broken = replace(model, theta=model.theta * np.float32(1e25))
    with pytest.raises(cr.DataError, match="have no class"):
        broken.predict(X)
    assert np.isnan(broken.predict_proba(X)).any()
    assert np.isnan(broken.evaluate(X, LABELS % 2)["accuracy"])


def test_a_model_of_other_numbers_than_its_network_has_is_refused() -> None:
    model = cr.fit(cr.mlp([4, 2]), X, LABELS % 2, loss="softmax_cross_entropy", epochs=1)
    for change in ({"theta": model.theta[:3]}, {"buffers": model.theta[:3]}):
        with pytest.raises(cr.DataError, match="must have shape"):
            replace(model, **change)
