"""A weighted layer of one's own stands wherever one of ours does: first, last, alone and in the middle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.initializers import find_initializer
from chainrule.layers import Buffer, Layer, Parameter

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(64, 6)).astype("f4"), rng.normal(size=(64, 2)).astype("f4")


@dataclass(frozen=True)
class Own(Layer):
    """y = x W."""

    n_in: int
    n_out: int

    def width(self, n_in: int) -> int:
        if n_in != self.n_in:
            raise cr.ConfigurationError(f"Own({self.n_in}, {self.n_out}) needs {self.n_in} inputs, got {n_in}.")
        return self.n_out

    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("W", (self.n_in, self.n_out), find_initializer("glorot_uniform"), decays=True),)

    def forward(self, backend: Any, params: Any, buffers: Any, x: Any, key: Any) -> Any:
        return self.apply(backend, params, buffers, x), x, buffers

    def apply(self, backend: Any, params: Any, buffers: Any, x: Any) -> Any:
        return backend.xp.matmul(x, params[0])

    def gradients(self, backend: Any, residual: Any, dy: Any) -> Any:
        return (backend.xp.matmul(residual.mT, dy),)

    def pullback(self, backend: Any, params: Any, residual: Any, dy: Any, grads: Any) -> Any:
        return backend.xp.matmul(dy, params[0].mT)


@dataclass(frozen=True)
class Alone:
    """The same, of no class of the library's."""

    n_in: int
    n_out: int

    width, parameters, forward, apply = Own.width, Own.parameters, Own.forward, Own.apply
    gradients, pullback = Own.gradients, Own.pullback

    def buffers(self) -> tuple[Buffer, ...]:
        return ()


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


@pytest.mark.parametrize("own", [Own, Alone])
@pytest.mark.parametrize("where", of(Own, Own))
def test_it_trains_as_the_librarys_own_does(where: str, own: Any) -> None:
    ours, theirs = of(dense, dense)[where], of(own, own)[where]
    assert (theirs.n_in, theirs.n_out, theirs.size) == (ours.n_in, ours.n_out, ours.size)
    settings: dict[str, Any] = {"loss": "squared_error", "epochs": 3, "batch_size": 16, "compile": False}
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
