"""A weighted layer of one's own stands wherever one of ours does: first, last, alone and in the middle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import chainrule as cr

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(64, 6)).astype("f4"), rng.normal(size=(64, 2)).astype("f4")


@dataclass(frozen=True)
class Own(cr.Layer):
    """y = x W."""

    n_in: int
    n_out: int

    def width(self, n_in: int) -> int:
        if n_in != self.n_in:
            raise cr.ConfigurationError(f"Own({self.n_in}, {self.n_out}) needs {self.n_in} inputs, got {n_in}.")
        return self.n_out

    def parameters(self) -> tuple[cr.Parameter, ...]:
        return (cr.Parameter("W", (self.n_in, self.n_out)),)

    def apply(self, backend: Any, params: Any, buffers: Any, x: Any) -> Any:
        return backend.xp.matmul(x, params[0])

    def gradients(self, backend: Any, residual: Any, dy: Any) -> Any:
        return (backend.xp.matmul(residual.mT, dy),)

    def pullback(self, backend: Any, params: Any, residual: Any, dy: Any, grads: Any) -> Any:
        return backend.xp.matmul(dy, params[0].mT)


def dense(n_in: int, n_out: int) -> cr.Dense:
    return cr.Dense(n_in, n_out, bias=False)


def of(first: Any, last: Any) -> dict[str, cr.Sequential]:
    return {
        "first": cr.Sequential(first(6, 3), cr.ReLU(), cr.Dense(3, 2)),
        "last": cr.Sequential(cr.Dense(6, 3), cr.ReLU(), last(3, 2)),
        "only": cr.Sequential(first(6, 2)),
        "middle": cr.Sequential(cr.Dense(6, 4), first(4, 3), cr.ReLU(), cr.Dense(3, 2)),
        "all": cr.Sequential(first(6, 3), cr.Tanh(), last(3, 2)),
    }


@pytest.mark.parametrize("where", of(Own, Own))
def test_it_trains_as_the_librarys_own_does(where: str) -> None:
    ours, theirs = of(dense, dense)[where], of(Own, Own)[where]
    assert (theirs.n_in, theirs.n_out, theirs.size) == (ours.n_in, ours.n_out, ours.size)
    settings: dict[str, Any] = {"loss": "squared_error", "epochs": 3, "batch_size": 16}
    settings["backend"] = cr.backend("numpy", compile=False)
    want, got = (cr.fit(net, X, Y, **settings) for net in (ours, theirs))
    np.testing.assert_allclose(got.theta, want.theta, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(got.predict(X), want.predict(X), rtol=1e-5, atol=1e-6)
    assert cr.check_gradients(theirs, X[:5], Y[:5], loss="squared_error").passed


def test_what_has_no_inputs_or_no_parameters_is_no_network() -> None:
    for layers in ((), (cr.ReLU(),), (cr.Dropout(0.5), cr.BatchNorm(3))):
        with pytest.raises(
            cr.ConfigurationError, match="needs at least one Dense layer, or one of your own with an n_in"
        ):
            cr.Sequential(*layers)
    with pytest.raises(cr.ConfigurationError, match=r"layer 2 of 2 does not fit: Own\(4, 2\) needs 4 inputs, got 3"):
        cr.Sequential(Own(6, 3), Own(4, 2))


@dataclass(frozen=True)
class Noise(cr.Layer):
    """y = x + deviation * N(0, 1) while training."""

    deviation: float = 0.5

    def forward(self, backend: Any, params: Any, buffers: Any, x: Any, key: cr.Key) -> Any:
        return x + self.deviation * key.normal(backend, x.shape[-2], x.shape[-1]), None, buffers

    def apply(self, backend: Any, params: Any, buffers: Any, x: Any) -> Any:
        return x

    def pullback(self, backend: Any, params: Any, residual: Any, dy: Any, grads: Any) -> Any:
        return dy


def test_a_random_one_follows_the_seed_of_fit() -> None:
    net = cr.Sequential(cr.Dense(6, 3), Noise(), cr.Dense(3, 2))
    first, again, other = (
        cr.fit(net, X, Y, loss="squared_error", epochs=1, seed=seed, shuffle=False).theta for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_every_warm_start_of_an_estimator_draws_anew() -> None:
    """Though nothing else is drawn, so that the generator stands where it stood."""
    drawn: list[bytes] = []

    @dataclass(frozen=True)
    class Spy(Noise):
        def forward(self, backend: Any, params: Any, buffers: Any, x: Any, key: cr.Key) -> Any:
            drawn.append(np.asarray(key.uniform(backend, 2, 3)).tobytes())
            return super().forward(backend, params, buffers, x, key)

    settings: dict[str, Any] = {"hidden_layer_sizes": (3,), "activation": Spy(), "max_iter": 1, "batch_size": 64}
    network = cr.MLPRegressor(random_state=np.random.RandomState(0), shuffle=False, warm_start=True, **settings)
    for _ in range(3):
        network.fit(X, Y)
    assert len(set(drawn)) == len(drawn) == 3


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_random_one_follows_random_state_in_the_estimators(solver: str) -> None:
    drawn: list[np.ndarray] = []

    @dataclass(frozen=True)
    class Spy(Noise):
        def forward(self, backend: Any, params: Any, buffers: Any, x: Any, key: cr.Key) -> Any:
            if not drawn:
                drawn.append(np.asarray(key.uniform(backend, 2, 3)))
            return super().forward(backend, params, buffers, x, key)

    seen = []
    for state in (0, 0, 1, np.random.RandomState(0)):
        drawn.clear()
        settings: dict[str, Any] = {"hidden_layer_sizes": (3,), "activation": Spy(), "max_iter": 1, "solver": solver}
        with pytest.warns(match="Maximum iterations"):
            cr.MLPRegressor(random_state=state, **settings).fit(X, Y)
        seen.append(drawn[0].tobytes())
    assert seen[0] == seen[1] == seen[3] != seen[2]


def test_normal_numbers_are_normal_and_the_same_on_every_backend() -> None:
    from chainrule._random import single_key

    numbers = {}
    for name in ("numpy", "torch", "jax", "array-api-strict"):
        backend = cr.backend(name)
        numbers[name] = np.asarray(backend.to_numpy(single_key(backend, 3).normal(backend, 400, 50)))
    drawn = numbers.pop("numpy").astype("f8")
    assert abs(drawn.mean()) < 4 / np.sqrt(drawn.size)
    assert abs(drawn.var() - 1) < 4 * np.sqrt(2 / drawn.size)
    assert abs((np.abs(drawn) < 1).mean() - 0.6827) < 0.02
    for other in numbers.values():
        np.testing.assert_allclose(other, drawn, rtol=1e-4, atol=1e-5)


def test_one_that_says_that_it_may_be_recorded_is_and_trains_to_the_same_bits() -> None:
    @dataclass(frozen=True)
    class Recorded(Own):
        traceable = True

    @dataclass(frozen=True)
    class Heir(Recorded):
        """Says nothing itself, and may count its calls."""

    fast, slow, heir = (of(kind, kind)["middle"] for kind in (Recorded, Own, Heir))
    backend = cr.backend("numpy")
    compiled = [backend.compiling(net.parts()).compiled for net in (fast, slow, heir)]
    assert compiled == [True, False, False]
    settings: dict[str, Any] = {"loss": "squared_error", "optimizer": "sgd", "epochs": 3, "batch_size": 16}
    got, want = (cr.fit(net, X, Y, **settings).theta for net in (fast, slow))
    np.testing.assert_array_equal(got, want)


def test_what_a_class_lacks_is_named() -> None:
    class NoPullback(cr.Layer):
        apply = Noise.apply

    class NoBase:
        apply = Noise.apply

    with pytest.raises(TypeError, match=r"abstract method '?pullback"):
        NoPullback()
    wanted = (
        r"expected a layer, got a NoBase that has no pullback and no base: write class NoBase\(cr.Layer\), with apply"
    )
    with pytest.raises(cr.ConfigurationError, match=wanted):
        cr.Sequential(cr.Dense(2, 2), NoBase())

    class NoUpdate:
        learning_rate = 0.1

    with pytest.raises(cr.ConfigurationError, match="got a NoUpdate that has no init and no update: write"):
        cr.fit(cr.mlp([6, 2]), X, Y, loss="squared_error", optimizer=NoUpdate())  # type: ignore[arg-type]

    class NoPlanned:
        def rate(self, xp: Any, t: Any) -> Any:
            return 0.1 / t

    wanted = r"a schedule as learning_rate, got a NoPlanned that has no planned: write class NoPlanned\(cr.Schedule\)"
    with pytest.raises(cr.ConfigurationError, match=wanted):
        cr.SGD(NoPlanned())  # type: ignore[arg-type]

    class NoRate(cr.Optimizer):
        update = cr.SGD.update

    with pytest.raises(cr.ConfigurationError, match="NoRate has none: write a field"):
        cr.fit(cr.mlp([6, 2]), X, Y, loss="squared_error", optimizer=NoRate())


def test_gradients_that_are_not_one_for_each_parameter_are_refused() -> None:
    @dataclass(frozen=True)
    class Forgets(Own):
        def gradients(self, backend: Any, residual: Any, dy: Any) -> Any:
            return ()

    with pytest.raises(
        cr.ConfigurationError, match=r"Forgets\(6, 2\): gradients must give one for each of \['W'\], got 0"
    ):
        cr.fit(cr.Sequential(Forgets(6, 2)), X, Y, loss="squared_error")


@pytest.mark.parametrize(
    ("method", "gives", "says"),
    [
        (
            "gradients",
            lambda own, b, residual, dy: (b.xp.sum(dy * dy),),
            r"gradients must give dC/dW .*\(6, 2\), got shape \(\)",
        ),
        ("gradients", lambda own, b, residual, dy: (1.0,), r"gradients must give dC/dW .*\(6, 2\), got float"),
        ("gradients", lambda own, b, residual, dy: (b.xp.matmul(dy.mT, residual),), r".*got shape \(2, 6\)"),
        ("pullback", lambda own, b, p, residual, dy, grads: dy, r"pullback must give dC/dx .*\(B, 6\), got shape"),
        ("pullback", lambda own, b, p, residual, dy, grads: None, r"pullback must give dC/dx .*\(B, 6\), got NoneType"),
        ("apply", lambda own, b, p, q, x: x, r"forward must give y .*\(B, 2\), got shape"),
        ("apply", lambda own, b, p, q, x: None, r"forward must give y .*\(B, 2\), got NoneType"),
    ],
)
@pytest.mark.parametrize("traceable", [False, True])
def test_what_a_layer_gives_of_another_shape_is_refused_by_its_name(
    method: str, gives: Any, says: str, traceable: bool
) -> None:
    """A faster body would read beyond its end, or train on what is there."""
    broken = dataclass(frozen=True)(type("Broken", (Own,), {method: gives, "traceable": traceable}))
    net = cr.Sequential(cr.Dense(6, 6), broken(6, 2))
    with pytest.raises(cr.ConfigurationError, match=rf"layer 2 \(Broken\(6, 2\)\): {says}"):
        cr.fit(net, X, Y, loss="squared_error", epochs=1)


def test_an_n_in_that_is_not_the_width_before_is_refused() -> None:
    @dataclass(frozen=True)
    class Slopes(cr.Layer):
        n_in: int
        apply, pullback = Noise.apply, Noise.pullback

    with pytest.raises(cr.ConfigurationError, match=r"layer 2 of 2 does not fit: Slopes\(4\) needs 4 inputs, got 3"):
        cr.Sequential(cr.Dense(3, 3), Slopes(4))


def test_a_list_of_layers_is_answered() -> None:
    with pytest.raises(cr.ConfigurationError, match=r"layers stand one after another: write cr.Sequential\(cr.Dense"):
        cr.Sequential([cr.Dense(2, 1)])  # type: ignore[arg-type]


def test_a_parameter_says_what_it_cannot_be() -> None:
    for shape, words in {3: "must be a list", (0, 2): "whole number >= 1, got 0", (1.5,): "whole number"}.items():
        with pytest.raises(cr.ConfigurationError, match=f"the shape of the parameter W.*{words}"):
            cr.Parameter("W", shape)  # type: ignore[arg-type]
    with pytest.raises(cr.ConfigurationError, match="unknown initializer 'he_norml': did you mean 'he_normal'"):
        cr.Parameter("W", (2, 3), "he_norml")


def test_an_own_layer_shows_its_numbers() -> None:
    @dataclass(frozen=True)
    class Three(Noise):
        power: int = 2
        name: str = "x"

    assert [str(Noise()), str(Noise(0.1)), str(Three(0.5, 3)), str(Three(name="y"))] == [
        "Noise",
        "Noise(0.1)",
        "Three(0.5, 3)",
        "Three(0.5, 2, y)",
    ]
    assert str(cr.Activate(cr.LeakyReLU(0.2))) == "LeakyReLU(0.2)"
