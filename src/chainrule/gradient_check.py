"""Backpropagation against central differences, on a network of your own.

The gradient of every parameter is computed twice, by the chain rule and by moving the parameter a little to either
side, from the equations as they are written. Where the two disagree, a derivative is wrong, and the check names the
layer whose derivative it is. Then the faster bodies that training on NumPy runs in place of some equations are compared
with these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ._backend import Backend, Provider, to_host
from ._backend._functions import UNRECORDED
from ._base.arguments import names_arguments
from ._base.errors import DataError, require
from ._base.options import check_instance, real_number, whole_number
from ._base.typing import Array
from ._data.checks import prepare
from ._data.streams import read_once, read_targets
from ._kernels import backend as make_backend
from ._kernels import with_loops
from ._random import Key, host_generator, single_key
from .backpropagation import penalized, value_and_gradient
from .batch import Batch
from .layers import Layer
from .losses import LossFunction, cost, find_loss
from .network import Sequential, without_link
from .penalties import Penalty

# A right gradient agrees to 1e-9 or better and a wrong one hardly ever to 1e-3: anything between would do.
TOLERANCE = 1e-6
# How many of C's own size its rounding can be: some tens of units in the last place, after a pass through the layers.
ROUNDING = 1e-14
# Zero biases can put a unit exactly on a kink, and equal weights hide errors that cancel: the default point is no such.
JITTER = 0.1


@dataclass(frozen=True)
class ParameterCheck:
    """One parameter array of one layer, at the element where the two gradients differ most.

    Attributes:
        number: of the layer, counted from 1, as in every message.
        layer: its name in words.
        parameter: ``"W"``, ``"b"``, ...
        relative_error: of the two gradients.
        backpropagation: dC/dtheta_j by the chain rule.
        numeric: the central difference.
        checked: how many elements were compared.
    """

    number: int
    layer: str
    parameter: str
    relative_error: float
    backpropagation: float
    numeric: float
    checked: int


@dataclass(frozen=True)
class GradientCheck:
    """What ``check_gradients`` found; ``print`` it for a table.

    Attributes:
        rows: a ``ParameterCheck`` for every parameter array, from the first layer to the last.
        suspects: when the check failed, the layers (or the loss) whose own derivative disagrees with their own value;
            where the equations are right, those whose faster bodies make other numbers.
        faster: the operations of which training on NumPy runs a faster body here.
        faster_error: how far these are from the equations as they are written: the largest relative difference of the
            cost and the gradient.

    Example:
        >>> import chainrule as cr
        >>> check = cr.check_gradients(cr.mlp([2, 3, 1]), [[0.5, -1.0], [1.0, 2.0]], [0.0, 1.0], loss="squared_error")
        >>> check.passed, check.max_relative_error < 1e-6
        (True, True)
        >>> [(row.layer, row.parameter, row.checked) for row in check.rows][:2]
        [('Dense(2, 3)', 'W', 6), ('Dense(2, 3)', 'b', 3)]
    """

    rows: tuple[ParameterCheck, ...]
    suspects: tuple[str, ...] = ()
    faster: tuple[str, ...] = ()
    faster_error: float = 0.0

    @property
    def max_relative_error(self) -> float:
        """The largest relative error of the equations; NaN where either gradient is."""
        return float(np.max([row.relative_error for row in self.rows]))

    @property
    def passed(self) -> bool:
        """Whether the largest relative error is at most 1e-6, and that of the faster bodies too."""
        return self.max_relative_error <= TOLERANCE and self.faster_error <= TOLERANCE

    def __str__(self) -> str:
        width = max(len(row.layer) for row in self.rows)
        head = f"     {'layer':<{width}}  parameter  checked  relative error  backpropagation  central difference"
        lines = [
            f"{row.number:>3}  {row.layer:<{width}}  {row.parameter:<9}{row.checked:>9}{row.relative_error:>16.1e}"
            f"{row.backpropagation:>17.6g}{row.numeric:>20.6g}{'' if row.relative_error <= TOLERANCE else '  <- wrong'}"
            for row in self.rows
        ]
        return "\n".join([head, *lines, self._verdict(), self._about_faster()])

    def _verdict(self) -> str:
        suspects, error = " and ".join(self.suspects), f"the largest relative error is {self.max_relative_error:.1e}"
        if self.passed:
            return f"Passed: {error}, at most {TOLERANCE:.0e}."
        if self.max_relative_error <= TOLERANCE:
            return f"FAILED: the equations are right ({error}), but look at {suspects or 'the faster bodies'}."
        failed = f"FAILED: {error}, more than {TOLERANCE:.0e}."
        if suspects:
            return f"{failed} Look at {suspects}: its derivative is not that of its value."
        return f"{failed} Each layer by itself is right, so this point is at a kink: try another seed or theta."

    def _about_faster(self) -> str:
        if not self.faster:
            return "Training on NumPy runs these equations as they are written."
        runs = f"The faster bodies that training on NumPy runs in their place ({', '.join(self.faster)})"
        if self.faster_error <= TOLERANCE:
            return f"{runs} give the same cost and gradient, to {self.faster_error:.1e}."
        return (
            f"{runs} give another cost or gradient, by {self.faster_error:.1e}: train with "
            'backend=cr.backend("numpy", kernels=False) to run the equations.'
        )


@names_arguments
def check_gradients(
    network: Sequential,
    X: Any,
    y: Any,
    *,
    loss: str | LossFunction,
    theta: Any = None,
    seed: int = 0,
    epsilon: float = 1e-6,
    sample_weight: Any = None,
    penalty: Penalty | None = None,
    max_parameters: int | None = 1000,
) -> GradientCheck:
    """dC/dtheta_j against (C(theta + e_j epsilon) - C(theta - e_j epsilon)) / (2 epsilon), in float64 on NumPy.

    Both come from the equations as they are written in the source (``kernels=False``). By default training on NumPy
    runs faster bodies in place of some of them: their cost and gradient are compared with these, by the same measure.

    The relative error of a backpropagated a and a numeric n is |a - n| / max(|a| + |n|, floor), and the check passes
    when no element's exceeds 1e-6. The floor is 1e-8 |C| / epsilon + 1e-6: under it the rounding of C, some
    1e-14 |C| / epsilon, is all that could be compared. The cost is the training cost: batch normalisation uses the
    batch's statistics, and dropout and other random layers keep one mask.

    At a kink (ReLU or a hinge at 0, the median's absolute error at e = 0, an L1 penalty at w = 0) there is no
    derivative, and the two differ although nothing is wrong: the default point avoids it, and another ``seed`` or
    ``theta`` leaves it.

    Args:
        network: any network; a last activation that is the loss's link is left to the loss.
        X: examples ``(B, n_in)``; a handful is enough.
        y: class indices ``(B,)``, or numbers ``(B,)`` or ``(B, n_out)``.
        loss: by name or object.
        theta: where to check, ``(p,)``; by default the seed's initial weights, each moved by N(0, 0.1^2).
        seed: of the weights, the masks, and the choice of parameters, an integer >= 0; default 0.
        epsilon: the step, > 0, in the units of theta; default 1e-6.
        sample_weight: ``(B,)``, one number for each example, >= 0; default 1 for each.
        penalty: ``cr.Penalty(l2=1e-4)``, checked as part of the cost; default none.
        max_parameters: compare only about so many, drawn evenly from all layers, at least one of each array; default
            1000, None compares all. Every parameter compared costs two passes.

    Returns:
        A ``GradientCheck``.

    Raises:
        DataError: X, y, theta or the weights do not fit the network. DTypeError: they are not numbers.
        ConfigurationError: an unknown loss; a link applied twice; an activation that has no derivative.

    Example:
        >>> import chainrule as cr
        >>> from chainrule.gradient_check import check_gradients
        >>> cube = cr.Activation(lambda xp, z: z * z * z, lambda xp, z: 2.0 * z * z, name="cube")
        >>> network = cr.Sequential(cr.Dense(2, 3), cube, cr.Dense(3, 1))
        >>> check = check_gradients(network, [[0.5, -1.0], [1.0, 2.0]], [0.0, 1.0], loss="squared_error")
        >>> check.passed, check.suspects
        (False, ('layer 2 (cube)',))
    """
    check_instance(network, Sequential, expected="a network", write="cr.mlp([4, 8, 1]), or model.network of a model")
    epsilon, seed = real_number("epsilon", epsilon), whole_number("seed", seed, least=0)
    require(epsilon > 0, f"epsilon must be > 0, got {epsilon}.")
    if max_parameters is not None:
        whole_number("max_parameters", max_parameters, least=1)
    if penalty is not None:
        check_instance(penalty, Penalty, expected="a penalty", write="penalty=cr.Penalty(l2=1e-4)")
    loss, X, y = find_loss(loss), read_once(X), read_targets(y)
    network = without_link(network, loss)
    backend = make_backend("numpy", dtype="float64", kernels=False)
    point = _Point(
        backend,
        network,
        loss,
        penalty,
        _theta(network, theta, seed),
        network.initial_buffers(),
        prepare(backend, X, y, sample_weight, n_in=network.n_in, n_out=network.n_out, loss=loss, training=False),
        single_key(backend, seed),
    )
    with np.errstate(all="ignore"):  # what is not finite is shown as such
        rows = tuple(_compare(point, epsilon, max_parameters, seed))
        found = GradientCheck(rows, (), *_compare_faster(point, epsilon))
        if found.passed:
            return found
        right = found.max_relative_error <= TOLERANCE
        return replace(found, suspects=tuple(_unlike(point, seed) if right else _suspects(point, epsilon, seed)))


class _Point(NamedTuple):
    """Where the gradient is checked."""

    backend: Backend
    network: Sequential
    loss: LossFunction
    penalty: Penalty | None
    theta: np.ndarray
    buffers: np.ndarray
    batch: Batch
    key: Key


def _cost_and_gradient(point: _Point) -> tuple[Array, Array]:
    backend, network, loss, penalty, theta, buffers, batch, key = point
    value, gradient, _ = value_and_gradient(backend, network, loss, theta, buffers, batch, key)
    if penalty is None:
        return value, gradient
    return penalized(backend, penalty, network.decays(), theta, batch, value, gradient)


def _compare(point: _Point, epsilon: float, max_parameters: int | None, seed: int) -> Iterator[ParameterCheck]:
    value, gradient = _cost_and_gradient(point)
    groups = point.network.layout.groups
    share = None if max_parameters is None else max(1, max_parameters // sum(map(len, groups)))
    for i, (layer, slots) in enumerate(zip(point.network.layers, groups, strict=True)):
        for parameter, slot in zip(layer.parameters(), slots, strict=True):
            generator = host_generator(seed, "gradient check", f"layers.{i}.{parameter.name}")
            size = slot.stop - slot.start
            chosen = slot.start + (np.arange(size) if share is None else generator.permutation(size)[:share])
            a = np.asarray(gradient)[chosen]
            n = np.asarray([_central_difference(point, j, epsilon) for j in chosen])
            error = _relative_error(a, n, value, epsilon)
            k = int(np.argmax(error))
            yield ParameterCheck(
                i + 1, str(layer), parameter.name, float(error[k]), float(a[k]), float(n[k]), len(chosen)
            )


def _relative_error(a: np.ndarray, n: np.ndarray, value: Array, epsilon: float) -> np.ndarray:
    floor = ROUNDING * abs(_number(value)) / (epsilon * TOLERANCE) + TOLERANCE
    return np.abs(a - n) / np.maximum(np.abs(a) + np.abs(n), floor)


def _compare_faster(point: _Point, epsilon: float) -> tuple[tuple[str, ...], float]:
    """The operations that have a faster body here, and the largest relative error of these."""
    ran: set[str] = set()
    faster = _faster(point, ran)
    written, theirs = (_cost_and_gradient(point._replace(backend=on)) for on in (point.backend, faster))
    a, n = (np.append(np.asarray(gradient), _number(value)) for value, gradient in (theirs, written))
    error = _relative_error(a, n, written[0], epsilon)
    alike = (a == n) | (np.isnan(a) & np.isnan(n))
    return tuple(sorted(ran)), float(np.max(np.where(alike, 0.0, error)))


def _faster(point: _Point, ran: set[str]) -> Backend:
    """The backend that training on NumPy has by default; ``ran`` gets the names of the operations it has bodies for."""

    def watched(operation: Provider, body: Provider) -> Provider:
        def run(*arguments: Any) -> Any:
            result = body(*arguments)
            if result is not NotImplemented:
                ran.add(operation.__name__)
            return result

        return run

    backend = make_backend("numpy", dtype="float64").compiling([*point.network.parts(), point.loss])
    backend = with_loops(backend, pays=True)
    if backend.compiled:
        backend = replace(backend, xp=UNRECORDED)  # the bodies of a recorded step, Numba's too, without a recording
    return replace(
        backend, providers={operation: watched(operation, body) for operation, body in backend.providers.items()}
    )


def _central_difference(point: _Point, j: int, epsilon: float) -> float:
    def cost_at(step: float) -> float:
        theta = point.theta.copy()
        theta[j] += step
        return _number(_cost_and_gradient(point._replace(theta=theta))[0])

    return (cost_at(epsilon) - cost_at(-epsilon)) / (2.0 * epsilon)


def _suspects(point: _Point, epsilon: float, seed: int) -> Iterator[str]:
    """The layers whose own derivative is wrong: a gradient that is wrong somewhere is wrong in all layers below."""
    backend, network, x = point.backend, point.network, point.batch.x
    generator = host_generator(seed, "gradient check", "directions")
    params = network.layout.split(backend, point.theta)
    buffers = network.buffer_layout.split(backend, point.buffers)
    for i, (y, _, _) in enumerate(network.walk_forward(backend, params, buffers, x, point.key)):
        layer = network.layers[i]
        if not _layer_agrees(backend, layer, params[i], buffers[i], x, point.key.fold(i), epsilon, generator):
            yield f"layer {i + 1} ({layer})"
        x = y
    dz = cost(backend, point.loss, x, point.batch.y, point.batch.weight)[1]

    def loss_at(z: Any) -> float:
        return _number(cost(backend, point.loss, z, point.batch.y, point.batch.weight)[0])

    u = generator.normal(size=x.shape)
    if not _agree(np.asarray(dz * u), loss_at(x + epsilon * u) - loss_at(x - epsilon * u), epsilon):
        yield f"the loss ({type(point.loss).__name__})"


def _layer_agrees(
    backend: Backend,
    layer: Layer,
    params: tuple[Any, ...],
    buffers: tuple[Any, ...],
    x: Any,
    key: Key,
    epsilon: float,
    generator: np.random.Generator,
) -> bool:
    """Whether d/de of sum dy * f(x + e u, params + e v) is what the layer's two backward equations say."""
    dy, u = _random_dy(layer, x, generator), generator.normal(size=x.shape)
    v = [generator.normal(size=p.shape) for p in params]

    def moved(step: float) -> Any:
        there = tuple(p + step * d for p, d in zip(params, v, strict=True))
        return layer.forward(backend, there, buffers, x + step * u, key)[0]

    _, *slopes = _both_ways(backend, layer, params, buffers, x, key, dy)
    terms = [np.ravel(d * g) for d, g in zip([u, *v], slopes, strict=True)]
    return _agree(np.concatenate(terms), float(np.sum((moved(epsilon) - moved(-epsilon)) * dy)), epsilon)


def _unlike(point: _Point, seed: int) -> Iterator[str]:
    """What has a faster body that makes other numbers than the equation, of what the equations below it give."""
    written, network, x = point.backend, point.network, point.batch.x
    faster, generator = _faster(point, set()), host_generator(seed, "gradient check", "directions")
    params = network.layout.split(written, point.theta)
    buffers = network.buffer_layout.split(written, point.buffers)
    for i, layer in enumerate(network.layers):
        dy = _random_dy(layer, x, generator)
        given = layer, params[i], buffers[i], x, point.key.fold(i), dy
        ours, theirs = (_both_ways(on, *given) for on in (written, faster))
        if not _same(ours, theirs):
            yield f"the faster body of layer {i + 1} ({layer})"
        x = ours[0]
    ours, theirs = (on.run(cost, point.loss, x, point.batch.y, point.batch.weight) for on in (written, faster))
    if not _same(ours, theirs):
        yield f"the faster body of the loss ({type(point.loss).__name__})"


def _random_dy(layer: Layer, x: Any, generator: np.random.Generator) -> np.ndarray:
    return generator.normal(size=(*x.shape[:-1], layer.width(x.shape[-1])))


def _both_ways(
    backend: Backend, layer: Layer, params: tuple[Any, ...], buffers: tuple[Any, ...], x: Any, key: Key, dy: Any
) -> tuple[Array, ...]:
    """(y, dC/dx, dC/dparams ...) of one layer, from its inputs and dC/dy."""
    y, residual, _ = layer.forward(backend, params, buffers, x, key)
    grads = layer.gradients(backend, residual, dy)
    return y, layer.pullback(backend, params, residual, dy, grads), *grads


def _same(ours: tuple[Array, ...], theirs: tuple[Array, ...]) -> bool:
    """Whether they are equal to a part in 1e6 of the largest number of each array."""
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(ours, theirs, strict=True)]
    return all(np.allclose(b, a, 0.0, TOLERANCE * float(np.max(np.abs(a))), equal_nan=True) for a, b in pairs)


def _agree(terms: np.ndarray, rise: float, epsilon: float) -> bool:
    """Whether the directional derivative sum(terms) is rise / (2 epsilon), to a part in 1e6 of the terms' size."""
    numeric = rise / (2.0 * epsilon)
    # The comparison is false for NaN, which is a disagreement.
    return bool(abs(np.sum(terms) - numeric) <= 10 * TOLERANCE * max(float(np.sum(np.abs(terms))), abs(numeric)) + 1e-9)


def _number(x: Array) -> float:
    return float(np.asarray(x))


def _theta(network: Sequential, theta: Any, seed: int) -> np.ndarray:
    if theta is None:
        start = network.initial_theta(seed)
        return start + JITTER * host_generator(seed, "gradient check", "theta").normal(size=start.shape)
    try:
        given = np.array(to_host(theta), dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"theta must be numbers, got {theta!r:.60}.") from None
    if given.shape != (network.size,):
        raise DataError(f"theta must have shape ({network.size},) for this network, got {given.shape}.")
    return given
