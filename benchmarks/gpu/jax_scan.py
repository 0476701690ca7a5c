"""JAX: all steps of a dispatch in one ``lax.scan`` in one jit, which is given its state to keep."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .ladder import Rung
from .runners import B1, B2, EPSILON, DeviceName, Pieces, Runner, Trainee, pieces, predicting, training

# JAX's words for the products' precision; its own choice on recent GPUs is tf32.
_PRODUCTS = {"float32": "highest", "tf32": "tensorfloat32", "bf16": "default"}


def scan(rung: Rung, device: DeviceName) -> Runner:
    import jax

    put = partial(jax.device_put, device=jax.devices("gpu" if device == "cuda" else "cpu")[0])
    return _prediction(rung, put) if rung.kind == "inference" else training(rung, _training(rung, put))


def _forward(rung: Rung, weights: Any, x: Any) -> Any:
    """The last pre-activations, in float32; products and activations in the rung's precision."""
    import jax
    import jax.numpy as jnp

    dtype = jnp.bfloat16 if rung.precision == "bf16" else jnp.float32

    def layer(x: Any, W: Any, b: Any) -> Any:
        return jnp.matmul(x, W.astype(dtype), precision=_PRODUCTS[rung.precision]) + b.astype(dtype)

    x = x.astype(dtype)
    for W, b in weights[:-1]:
        x = jax.nn.relu(layer(x, W, b))
    return layer(x, *weights[-1]).astype(jnp.float32)


def _training(rung: Rung, put: Callable[[Any], Any]) -> Trainee:
    import jax

    X, y, order = (put(part.astype(part.dtype.name.replace("64", "32"))) for part in rung.training_data())
    programs = {n: jax.jit(partial(_steps, rung, n), donate_argnums=0) for n in {1, rung.steps}}
    state: Any = None

    def restart() -> None:
        nonlocal state
        weights, m, v = ([(W * first, b * first) for W, b in pieces(rung.network)] for first in (1, 0, 0))
        state = put((weights, m, v, np.zeros((), np.float32), np.zeros((), np.int32)))

    def take(steps: int) -> None:
        nonlocal state
        state, _ = programs[steps](state, X, y, order)

    def on_host(part: int) -> Pieces:
        return [(np.asarray(W), np.asarray(b)) for W, b in state[part]]

    return Trainee(
        restart,
        lambda: take(1),
        lambda: take(rung.steps),
        lambda: on_host(0),
        lambda: on_host(1),
        lambda: jax.block_until_ready(state),
    )


def _steps(rung: Rung, steps: int, state: Any, X: Any, y: Any, order: Any) -> Any:
    """So many steps from (weights, m, v, t, cursor), and their losses."""
    import jax
    import jax.numpy as jnp

    def cost(weights: Any, x: Any, y: Any) -> Any:
        logp = jax.nn.log_softmax(_forward(rung, weights, x))
        return -jnp.mean(jnp.take_along_axis(logp, y[:, None], axis=-1))

    def step(state: Any, _: None) -> Any:
        weights, m, v, t, cursor = state
        index = jax.lax.dynamic_slice(order, (cursor,), (rung.network.batch,))
        loss, g = jax.value_and_grad(cost)(weights, X[index], y[index])
        t = t + 1
        m = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, m, g)
        v = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g * g, v, g)
        rate, root = rung.rate / -jnp.expm1(t * math.log(B1)), jnp.sqrt(-jnp.expm1(t * math.log(B2)))
        weights = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) / root + EPSILON), weights, m, v)
        return (weights, m, v, t, (cursor + rung.network.batch) % len(order)), loss

    return jax.lax.scan(step, state, None, length=steps)


def _prediction(rung: Rung, put: Callable[[Any], Any]) -> Runner:
    import jax

    weights, X = put([(W, b) for W, b in pieces(rung.network)]), put(rung.rows_to_predict())
    classes = jax.jit(lambda weights, X: _forward(rung, weights, X).argmax(-1))
    return predicting(lambda: classes(weights, X).block_until_ready(), lambda: None)
