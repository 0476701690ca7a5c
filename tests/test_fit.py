"""``fit``: it learns, the same on every library, changes nothing it is handed, and weighs what it is told to weigh."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import Platform, find_library

import chainrule as cr
from chainrule._backend import LIBRARIES

LIBRARY_TARGETS = ("numpy", "torch", "jax-jit", "strictest-float32")
RNG = np.random.default_rng(2718)
X = RNG.normal(size=(60, 3))
W = np.asarray([[1.0, -2.0], [0.5, 0.0], [0.0, 3.0]])
Y = X @ W + 0.1 * RNG.normal(size=(60, 2))
X.flags.writeable = Y.flags.writeable = False  # so every test here fails if fit writes to them


def moons(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Two half circles that a line cannot part, and which of them each point is on."""
    angle, side = RNG.uniform(0.0, np.pi, rows), np.arange(rows) % 2
    points = np.stack([np.cos(angle) + side, np.sin(angle) * (1 - 2 * side) + 0.5 * side], axis=1)
    return points + 0.1 * RNG.normal(size=points.shape), side


EXACT = cr.backend("numpy", dtype="float64")


def full_batch(network: cr.Sequential, X: Any, y: Any, **options: Any) -> cr.Model:
    """Plain gradient descent in float64: the cases in which what must come out can be computed."""
    usual = {"loss": "squared_error", "optimizer": cr.SGD(0.5), "batch_size": len(X), "backend": EXACT, "epochs": 5}
    return cr.fit(network, X, y, **{**usual, **options})


def linear(n_in: int = 3, n_out: int = 2) -> cr.Sequential:
    return cr.Sequential(cr.Dense(n_in, n_out))


class KeepRun:
    """A callback that keeps the run it is handed."""

    def on_train_begin(self, run: Any) -> None:
        self.run = run


# ------------------------------------------------------------------------------------------------------------- learns


def test_gradient_descent_reaches_the_least_squares_solution() -> None:
    model = full_batch(linear(), X, Y, epochs=500)
    ones = np.ones((len(X), 1))
    solution, *_ = np.linalg.lstsq(np.hstack([X, ones]), Y, rcond=None)
    np.testing.assert_allclose(model.predict(X), np.hstack([X, ones]) @ solution, atol=1e-10)


class Task(NamedTuple):
    sizes: list[int]
    loss: str
    X: np.ndarray
    y: np.ndarray
    metric: str
    at_least: float


MOONS, SIDE = moons(200)
RATE = np.exp(0.5 + X @ np.asarray([0.5, -0.5, 0.2]))
TASKS = {
    "two moons": Task([2, 16, 2], "softmax_cross_entropy", MOONS, SIDE, "accuracy", 0.98),
    "one sigmoid": Task([2, 16, 1], "sigmoid_cross_entropy", MOONS, SIDE, "accuracy", 0.98),
    "several sigmoids": Task([3, 16, 2], "sigmoid_cross_entropy", X, (Y > 0).astype(int), "accuracy", 0.98),
    "rows of probabilities": Task([2, 16, 2], "softmax_cross_entropy", MOONS, np.eye(2)[SIDE], "accuracy", 0.98),
    "counts": Task([3, 1], "poisson", X, RATE, "r2", 0.99),
    "several numbers": Task([3, 16, 2], "huber", X, Y, "r2", 0.95),
}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_network_learns(task: Task) -> None:
    net = cr.mlp(task.sizes, activation="tanh")
    model = cr.fit(net, task.X, task.y, loss=task.loss, optimizer=cr.Adam(0.02), batch_size=20, epochs=150)
    assert model.history["loss"][-1] < model.history["loss"][0]
    assert model.evaluate(task.X, task.y, metrics=[task.metric])[task.metric] > task.at_least


# ----------------------------------------------------------------------------------------------------- every library


def everything(platform: Platform, **options: Any) -> tuple[cr.Model, Any]:
    """A training with all that fit can do at once, on a platform; and predictions in its library."""
    place = platform.array
    net = cr.mlp([3, 8, 2], activation="tanh", dropout=0.25, normalization="layer")
    model = cr.fit(
        net,
        place(X),
        place(Y),
        **{
            "loss": "huber",
            "optimizer": cr.AdamW(cr.CosineDecay(0.05, warmup=3)),
            "epochs": 4,
            "batch_size": 20,
            "validation": (place(X[:9]), place(Y[:9])),
            "sample_weight": place(np.arange(60) % 3 * 1.0),
            "penalty": cr.Penalty(l2=1e-3),
            "clip": cr.ClipNorm(1.0),
            "backend": platform.backend,
            **options,
        },
    )
    return model, model.predict(place(X))


@pytest.mark.parametrize("id", LIBRARY_TARGETS[1:])
def test_the_same_training_on_every_library(id: str, open_platform: Callable[..., Platform]) -> None:
    platform = open_platform(id)
    (want, prediction), (got, answer) = everything(open_platform("numpy")), everything(platform)
    platform.check(answer, prediction, rtol=1e-5, atol=1e-5)
    for column in ("loss", "val_loss", "val_r2", "learning_rate"):
        np.testing.assert_allclose(got.history[column], want.history[column], rtol=1e-5, err_msg=column)


@pytest.mark.parametrize("id", LIBRARY_TARGETS)
def test_arrays_of_the_user_are_never_written(id: str, open_platform: Callable[..., Platform]) -> None:
    platform = open_platform(id)
    arrays = [platform.owned(np.asarray(a, dtype="float32")) for a in (X, Y, np.ones(60))]
    before = [platform.host(a) for a in arrays]
    net = cr.mlp([3, 4, 2], normalization="batch")
    cr.fit(net, *arrays[:2], loss="huber", sample_weight=arrays[2], epochs=2, backend=platform.backend)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(platform.host(array), copy)


@pytest.mark.parametrize("id", LIBRARY_TARGETS)
def test_one_synchronisation_an_epoch_whatever_the_number_of_steps(
    id: str, open_platform: Callable[..., Platform], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform, pulled = open_platform(id), []
    library: Any = LIBRARIES[platform.spec.library]
    original = library.to_numpy
    monkeypatch.setattr(library, "to_numpy", lambda x: [pulled.append(x.shape), original(x)][1])

    def pulls(epochs: int, batch_size: int) -> list[tuple[int, ...]]:
        pulled.clear()
        data = platform.array(X), platform.array(Y)
        sizes = {"epochs": epochs, "batch_size": batch_size}
        cr.fit(linear(), *data, loss="huber", validation=data, backend=platform.backend, **sizes)
        return list(pulled)

    checks = pulls(epochs=1, batch_size=60)[:-1]
    assert pulls(epochs=4, batch_size=60) == [*checks, *[(5,)] * 4]  # finite, step, loss, val_loss, val_r2
    assert pulls(epochs=4, batch_size=6) == [*checks, *[(5,)] * 4]


def test_float64_reaches_the_weights_and_the_predictions() -> None:
    model = full_batch(linear(), X, Y)
    assert (model.theta.dtype, model.predict(X).dtype) == (np.float64, np.float64)
    rough = full_batch(linear(), X, Y, backend="numpy")
    assert rough.theta.dtype == np.float32
    np.testing.assert_allclose(rough.theta, model.theta, rtol=1e-4)


def test_the_library_is_that_of_X_unless_another_is_asked_for() -> None:
    torch = find_library("torch")
    ours = cr.fit(linear(), torch.asarray(X.copy()), torch.asarray(Y.copy()), loss="huber", epochs=1)
    theirs = cr.fit(linear(), X, Y, loss="huber", epochs=1, backend="torch")
    assert ours.backend.name == theirs.backend.name == "torch"
    assert isinstance(theirs.predict(X), np.ndarray)  # answers come in the library of the question


# -------------------------------------------------------------------------------------------------- compiled and not


# What JAX runs op by op it compiles op by op: as few kinds of operations as will do.
FEW_OPERATIONS = {"loss": "squared_error", "optimizer": cr.SGD(0.1), "epochs": 2}


def test_jax_gives_the_same_numbers_uncompiled(open_platform: Callable[..., Platform]) -> None:
    platform = open_platform("jax-jit")
    data = platform.array(X), platform.array(Y)
    compiled = cr.fit(linear(), *data, batch_size=40, **FEW_OPERATIONS)
    uncompiled = cr.backend(like=data[0], compile=False)
    eager = cr.fit(linear(), *data, batch_size=40, backend=uncompiled, **FEW_OPERATIONS)
    assert compiled.backend.info["compiled"]
    assert not eager.backend.info["compiled"]
    np.testing.assert_allclose(eager.history["loss"], compiled.history["loss"], rtol=1e-6)


BATCHES = {"one shape": 30, "a short last batch": 40}


@pytest.mark.parametrize("batch_size", BATCHES.values(), ids=BATCHES)
def test_a_failed_torch_compilation_changes_nothing_and_says_so_once(
    batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = find_library("torch")
    dynamo = find_library("torch", "torch._dynamo.exc")

    def fails(*_: Any) -> Any:
        raise dynamo.TorchDynamoException("no C++ compiler was found\nand forty lines more")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fails)
    net, options = cr.mlp([3, 4, 2], dropout=0.5), {"loss": "huber", "epochs": 3, "batch_size": batch_size}
    with pytest.warns(RuntimeWarning) as seen:
        got = cr.fit(net, X, Y, backend=cr.backend("torch", compile=True), **options)
    assert got == cr.fit(net, X, Y, backend=cr.backend("torch", kernels=False), **options)
    assert [str(w.message) for w in seen] == [
        "torch.compile failed, the step runs uncompiled: no C++ compiler was found"
    ]


def test_an_activation_that_reads_on_the_host_trains_uncompiled_on_jax_and_says_so_once(
    open_platform: Callable[..., Platform],
) -> None:
    platform = open_platform("jax-jit")
    host_read = cr.Activation(lambda xp, z: z * float(z.shape[0] + 0 * z[0, 0]), lambda xp, z: z * 0.0 + z.shape[0])
    net = cr.Sequential(cr.Dense(3, 2), host_read)
    options = {**FEW_OPERATIONS, "optimizer": cr.SGD(1e-4), "batch_size": BATCHES["a short last batch"]}
    with pytest.warns(RuntimeWarning, match=r"jax\.jit failed, the step runs uncompiled: ") as seen:
        got = cr.fit(net, platform.array(X), platform.array(Y), **options)
    np.testing.assert_allclose(got.history["loss"], cr.fit(net, X, Y, **options).history["loss"], rtol=1e-6)
    assert len(seen) == 1


# ---------------------------------------------------------------------------------------------------- going on from


def test_a_model_trained_further_counts_on_and_leaves_the_first_alone() -> None:
    first = cr.fit(linear(), X, Y, loss="squared_error", epochs=2)
    theta = first.theta.copy()
    second = cr.fit(first, X, Y, epochs=3)
    np.testing.assert_array_equal(first.theta, theta)
    assert not np.shares_memory(first.theta, second.theta)
    assert first.history["epoch"] == [1, 2]
    assert second.history["epoch"] == [1, 2, 3, 4, 5]
    assert second.history["loss"][2] < first.history["loss"][0]


def test_plain_gradient_descent_in_two_parts_is_one_training() -> None:
    half = full_batch(linear(), X, Y, epochs=3)
    assert (
        full_batch(half, X, Y, epochs=4, loss=None).theta.tolist()
        == full_batch(linear(), X, Y, epochs=7).theta.tolist()
    )


def test_a_model_trained_further_takes_orders_and_masks_of_its_own_epochs() -> None:
    frozen = {"optimizer": cr.SGD(0.0), "loss": "huber", "batch_size": 20}
    net = cr.mlp([3, 16, 2], dropout=0.5)
    whole = cr.fit(net, X, Y, epochs=2, **frozen)
    again = cr.fit(cr.fit(net, X, Y, epochs=1, **frozen), X, Y, epochs=1, **{**frozen, "loss": None})
    assert again.history["loss"][0] == whole.history["loss"][0]
    assert again.history["loss"][1] != again.history["loss"][0]  # the same weights, other batches and masks


def test_another_loss_than_the_models_own_is_refused() -> None:
    model = cr.fit(linear(), X, Y, loss="squared_error", epochs=1)
    assert len(cr.fit(model, X, Y, loss="squared_error", epochs=1).history) == 2
    with pytest.raises(cr.ConfigurationError, match=r"trained for SquaredError\(\), got loss='huber': leave loss out"):
        cr.fit(model, X, Y, loss="huber")


def test_a_model_moves_to_another_library_to_be_trained_further(open_platform: Callable[..., Platform]) -> None:
    model = cr.fit(linear(), X, Y, loss="squared_error", epochs=1)
    for id in LIBRARY_TARGETS:
        platform = open_platform(id)
        further = cr.fit(model, X, Y, epochs=1, backend=platform.backend)
        platform.check(further.theta, cr.fit(model, X, Y, epochs=1).theta, rtol=1e-5, atol=1e-6)


def test_a_model_trained_further_keeps_its_library_and_dtype_whatever_else_is_asked_for() -> None:
    find_library("torch")
    model = cr.fit(linear(), X, Y, loss="huber", epochs=1, backend=cr.backend("torch", dtype="float64"))
    for backend in ("auto", "torch", "torch:cpu"):
        assert cr.fit(model, X, Y, epochs=1, backend=backend).backend == model.backend
    assert cr.fit(model, X, Y, epochs=1, backend="numpy").backend == cr.backend("numpy")


# ------------------------------------------------------------------------------------------------ rows and weights


def test_a_weight_of_two_is_a_row_twice() -> None:
    rows = np.asarray([0, 0, 0, 1, 2, 2, *range(3, 60)])
    weight = np.bincount(rows).astype(float)
    options = {"penalty": cr.Penalty(l2=0.1, over="examples"), "validation": None}
    weighed, repeated = (
        full_batch(linear(), X, Y, sample_weight=weight, **options),
        full_batch(linear(), X[rows], Y[rows], **options),
    )
    np.testing.assert_allclose(weighed.theta, repeated.theta, rtol=1e-12)
    np.testing.assert_allclose(weighed.history["loss"], repeated.history["loss"], rtol=1e-12)
    for name, value in weighed.evaluate(X, Y, weight, metrics=["mse", "mae", "rmse", "r2"]).items():
        assert repeated.evaluate(X[rows], Y[rows], metrics=["mse", "mae", "rmse", "r2"])[name] == pytest.approx(value)


def test_rows_of_weight_zero_change_nothing() -> None:
    weight = (np.arange(60) < 40).astype(float)
    outlier = np.where(weight[:, None] > 0, Y, 1e3)
    np.testing.assert_allclose(
        full_batch(linear(), X, outlier, sample_weight=weight).theta,
        full_batch(linear(), X[:40], Y[:40]).theta,
        rtol=1e-12,
    )


def test_a_batch_of_weight_zero_changes_nothing() -> None:
    weight = (np.arange(60) < 40).astype(float)
    for optimizer in (cr.Momentum(0.1), cr.Adam(0.1)):
        options = {"optimizer": optimizer, "epochs": 1, "shuffle": False, "penalty": cr.Penalty(l2=0.1)}
        with_zeros = full_batch(linear(), X, Y, sample_weight=weight, batch_size=20, **options)
        without = full_batch(linear(), X[:40], Y[:40], batch_size=20, **options)
        np.testing.assert_allclose(with_zeros.theta, without.theta, rtol=1e-13)
        assert with_zeros.history["loss"] == pytest.approx(without.history["loss"], rel=1e-13)


def sgd_by_hand(theta: np.ndarray, sizes: list[int], eta: float) -> tuple[np.ndarray, float]:
    """One epoch over X and Y in their order, and its mean cost: dC/dW = x^T (z - y) / m, dC/db = sum (z - y) / m."""
    weights, bias = theta[:6].reshape(3, 2).copy(), theta[6:].copy()
    start, total = 0, 0.0
    for m in sizes:
        x, y = X[start : start + m], Y[start : start + m]
        e = x @ weights + bias - y
        total += 0.5 * np.sum(e * e)
        weights -= eta * x.T @ e / m
        bias -= eta * e.sum(axis=0) / m
        start += m
    return np.concatenate([weights.ravel(), bias]), total / start


@pytest.mark.parametrize("sizes", [[60], [20, 20, 20], [25, 25, 10], [59, 1]], ids=str)
def test_unshuffled_steps_take_the_rows_in_order_and_the_last_short_batch_counts(sizes: list[int]) -> None:
    theta, loss = sgd_by_hand(linear().initial_theta(seed=7), sizes, eta=0.1)
    options = {"optimizer": cr.SGD(0.1), "epochs": 1, "shuffle": False, "seed": 7}
    model = full_batch(linear(), X, Y, batch_size=sizes[0], **options)
    np.testing.assert_allclose(model.theta, theta, rtol=1e-12)
    assert model.history["loss"] == [pytest.approx(loss, rel=1e-12)]


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_takes_each_row_exactly_once(shuffle: bool) -> None:
    total = cr.Loss(lambda xp, z, y: (z * y, y))  # dL/db = y, wherever the weights are
    powers = 2.0 ** np.arange(20)  # a sum of these tells which were added, and how often
    model = full_batch(linear(1, 1), np.zeros((20, 1)), powers, loss=total, batch_size=1, epochs=3, shuffle=shuffle)
    assert float(model.theta[-1]) == -0.5 * 3 * sum(powers)


def test_shuffling_is_a_new_order_each_epoch() -> None:
    options = {"batch_size": 20, "optimizer": cr.SGD(0.0), "loss": "squared_error", "epochs": 3}
    firsts: list[float] = []

    class FirstBatch:
        def on_step_end(self, run: Any) -> None:
            if run.step == 1:
                firsts.append(float(run.state.cost[0]))

    cr.fit(linear(), X, Y, callbacks=[FirstBatch()], **options)
    assert len(set(firsts)) == 3
    firsts.clear()
    cr.fit(linear(), X, Y, callbacks=[FirstBatch()], shuffle=False, **options)
    assert len(set(firsts)) == 1


def test_a_single_last_row_joins_the_batch_before_it_where_batch_norm_needs_two() -> None:
    for normalization, steps in (("batch", 2), ("layer", 3)):
        keep = KeepRun()
        net = cr.mlp([3, 4, 2], normalization=normalization)
        model = cr.fit(net, X[:9], Y[:9], loss="huber", batch_size=4, epochs=1, callbacks=[keep])
        assert keep.run.steps_per_epoch == steps
        assert keep.run.state.cursor.tolist() == [9]
        assert np.isfinite(model.theta).all()


def test_a_seed_is_a_training_bit_for_bit() -> None:
    def train(seed: int) -> list[float]:
        net = cr.mlp([3, 8, 2], dropout=0.5)
        return cr.fit(net, X, Y, loss="huber", epochs=2, batch_size=16, seed=seed).theta.tolist()

    assert train(3) == train(3)
    assert train(3) != train(4)


# ----------------------------------------------------------------------------------------------- what history says


def test_validation_is_measured_after_each_epoch_without_the_penalty() -> None:
    net, held = cr.mlp([2, 8, 2]), (MOONS[:50], SIDE[:50])
    options = {"loss": "softmax_cross_entropy", "epochs": 2, "penalty": cr.Penalty(l2=1.0)}
    model = cr.fit(net, MOONS, SIDE, validation=held, **options)
    assert model.history.names == ("epoch", "loss", "val_loss", "val_accuracy", "learning_rate", "seconds")
    measured = model.evaluate(*held)
    assert (model.history["val_loss"][-1], model.history["val_accuracy"][-1]) == tuple(measured.values())


def test_validation_rows_may_have_weights() -> None:
    weight = (np.arange(60) < 20).astype(float)
    model = cr.fit(linear(), X, Y, loss="huber", validation=(X, Y, weight), epochs=1)
    assert model.history["val_r2"][-1] == pytest.approx(model.evaluate(X[:20], Y[:20])["r2"])


@pytest.mark.parametrize("id", ["numpy", "torch", "strictest-float32"])
def test_a_metric_of_your_own_gets_numpy_arrays_of_targets_and_answers(
    id: str, open_platform: Callable[..., Platform]
) -> None:
    platform = open_platform(id)

    def right(y: np.ndarray, answers: np.ndarray) -> float:
        assert isinstance(y, np.ndarray)
        assert isinstance(answers, np.ndarray)
        assert y.shape == answers.shape == (200,)
        return float(np.mean(y == answers))

    data = platform.array(MOONS), platform.array(SIDE)
    options = {"loss": "softmax_cross_entropy", "epochs": 2, "backend": platform.backend}
    model = cr.fit(cr.mlp([2, 2]), *data, validation=data, metrics=["accuracy", right], **options)
    assert model.history["val_right"] == pytest.approx(model.history["val_accuracy"], abs=1e-6)


def test_loss_includes_the_penalty() -> None:
    still = {"optimizer": cr.SGD(0.0), "epochs": 1}
    plain = full_batch(linear(), X, Y, **still)
    penalized = full_batch(linear(), X, Y, penalty=cr.Penalty(l1=0.5, l2=2.0), **still)
    weights = plain.theta[:6]
    added = penalized.history["loss"][0] - plain.history["loss"][0]
    assert added == pytest.approx(0.5 * np.sum(np.abs(weights)) + 1.0 * np.sum(weights**2), rel=1e-12)


def test_a_schedule_without_a_length_gets_that_of_the_training() -> None:
    options = {"loss": "huber", "batch_size": 16, "epochs": 5}  # 4 steps an epoch
    model = cr.fit(linear(), X, Y, optimizer=cr.Adam(cr.CosineDecay(0.1)), **options)
    steps = 4.0 * np.arange(1, 6)
    np.testing.assert_allclose(model.history["learning_rate"], 0.05 * (1 + np.cos(np.pi * steps / 20)), atol=1e-12)
    further = cr.fit(model, X, Y, optimizer=cr.Adam(cr.CosineDecay(0.1)), batch_size=16, epochs=5)
    assert further.history["learning_rate"] == model.history["learning_rate"] * 2  # from the start again


# ------------------------------------------------------------------------------------- networks and what they end in


@pytest.mark.parametrize(
    ("output", "loss", "y"),
    [
        ("softmax", "softmax_cross_entropy", (Y[:, 0] > 0).astype(int)),
        ("sigmoid", "sigmoid_cross_entropy", (Y > 0).astype(int)),
        ("exponential", "poisson", np.exp(Y / 4)),
        ("linear", "squared_error", Y),
    ],
)
def test_a_network_that_ends_in_the_losss_link_is_the_one_that_ends_before_it(output: str, loss: str, y: Any) -> None:
    with_link = cr.fit(cr.mlp([3, 4, 2], output=output), X, y, loss=loss, epochs=2)
    without = cr.fit(cr.mlp([3, 4, 2]), X, y, loss=loss, epochs=2)
    assert with_link.theta.tolist() == without.theta.tolist()
    assert with_link.predict(X).tolist() == without.predict(X).tolist()
    if output in ("softmax", "sigmoid"):
        assert with_link.predict_proba(X).tolist() == without.predict_proba(X).tolist()


def test_an_optimizer_of_your_own_needs_three_names_and_no_more() -> None:
    class Halfway:
        learning_rate = 0.5

        def init(self, backend: Any, theta: Any, decays: Any) -> tuple[Any, ...]:
            return ()

        def update(self, backend: Any, theta: Any, g: Any, moments: Any, t: Any, eta: Any) -> Any:
            return theta - eta * g, moments

    ours = full_batch(linear(), X, Y, optimizer=Halfway())  # a part of one's own: not compiled
    assert ours.theta.tolist() == full_batch(linear(), X, Y, backend=cr.backend(EXACT, compile=False)).theta.tolist()


@pytest.mark.parametrize("library", ["numpy", "torch", "jax", "array-api-strict"])
def test_the_moments_of_an_optimizer_of_your_own_may_be_a_list(library: str) -> None:
    class HeavyBall:
        learning_rate = 0.05

        def init(self, backend: Any, theta: Any, decays: Any) -> list[Any]:
            return [backend.xp.zeros_like(theta)]

        def update(self, backend: Any, theta: Any, g: Any, moments: Any, t: Any, eta: Any) -> Any:
            v = 0.9 * moments[0] + g
            return theta - eta * v, [v]

    find_library(library, {"array-api-strict": "array_api_strict"}.get(library))
    ours = cr.fit(linear(), X, Y, loss="huber", optimizer=HeavyBall(), epochs=3, batch_size=4, backend=library)
    theirs = cr.fit(linear(), X, Y, loss="huber", optimizer=cr.Momentum(0.05, 0.9), epochs=3, batch_size=4)
    np.testing.assert_allclose(ours.to("numpy").theta, theirs.theta, rtol=1e-5, atol=1e-6)


def test_lists_and_frames_are_arrays_too() -> None:
    pandas = find_library("pandas")
    want = cr.fit(linear(), X, Y, loss="huber", epochs=1)
    assert cr.fit(linear(), X.tolist(), Y.tolist(), loss="huber", epochs=1) == want
    assert cr.fit(linear(), pandas.DataFrame(X), pandas.DataFrame(Y), loss="huber", epochs=1) == want


def test_training_is_silent() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        cr.fit(linear(), X, Y, loss="huber", epochs=1)
    assert not seen


def test_weights_start_from_the_seed_alone() -> None:
    still = cr.fit(linear(), X, Y, loss="huber", optimizer=cr.SGD(0.0), epochs=1, seed=5)
    np.testing.assert_array_equal(still.theta, linear().initial_theta(5).astype(np.float32))
