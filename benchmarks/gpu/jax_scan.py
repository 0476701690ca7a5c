"""JAX: all steps of a timing in one ``lax.scan`` in one jit, which is given its state to keep."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .ladder import Rung
from .runners import B1, B2, EPSILON, RATE, DeviceName, Runner, clocked, pieces, predicting

# JAX's words for the products' precision; its own choice on recent GPUs is tf32.
_PRODUCTS = {"float32": "highest", "tf32": "tensorfloat32", "bf16": "default"}


def scan(rung: Rung, device: DeviceName) -> Runner:
    import jax

    found = jax.devices("gpu" if device == "cuda" else "cpu")[0]
    return (_prediction if rung.kind == "inference" else _training)(rung, partial(jax.device_put, device=found))


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


def _training(rung: Rung, put: Callable[[Any], Any]) -> Runner:
    import jax
    import jax.numpy as jnp

    X, y, order = (put(part.astype(part.dtype.name.replace("64", "32"))) for part in rung.training_data())
    weights = put([(W, b) for W, b in pieces(rung.network)])
    zeros = partial(jax.tree.map, jnp.zeros_like)
    state = (weights, zeros(weights), zeros(weights), put(np.zeros((), np.float32)), put(np.zeros((), np.int32)))
    program = jax.jit(partial(_steps, rung), donate_argnums=0)

    def run() -> Any:
        nonlocal state
        state, losses = program(state, X, y, order)
        return losses.block_until_ready()

    return Runner(
        lambda: np.concatenate([run() for _ in range(rung.compared // rung.steps)]),
        lambda: clocked(lambda: (run(), jax.block_until_ready(state))) / rung.steps,
    )


def _steps(rung: Rung, state: Any, X: Any, y: Any, order: Any) -> Any:
    """A timing's steps from (weights, m, v, t, cursor), and their losses."""
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
        rate, root = RATE / -jnp.expm1(t * math.log(B1)), jnp.sqrt(-jnp.expm1(t * math.log(B2)))
        weights = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) / root + EPSILON), weights, m, v)
        return (weights, m, v, t, (cursor + rung.network.batch) % len(order)), loss

    return jax.lax.scan(step, state, None, length=rung.steps)


def _prediction(rung: Rung, put: Callable[[Any], Any]) -> Runner:
    import jax

    weights, X = put([(W, b) for W, b in pieces(rung.network)]), put(rung.rows_to_predict())
    classes = jax.jit(lambda weights, X: _forward(rung, weights, X).argmax(-1))
    return predicting(rung, lambda: classes(weights, X).block_until_ready(), lambda: None)
