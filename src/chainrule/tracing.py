"""What passes each layer in one pass forward and one back, by the lectures' names: z1, a1, delta1, dW1.

z_l = a_(l-1) W_l + b_l                        a_l = g(z_l)
delta_l = dC/dz_l = (delta_(l+1) W_(l+1)^T) * g'(z_l)
dC/dW_l = a_(l-1)^T delta_l                    dC/db_l = the sum of delta_l over the examples
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from ._backend import Backend, returned
from ._base.arguments import names_arguments
from ._base.errors import MissingEntryError
from ._base.options import whole_number
from ._base.typing import Array
from ._layout import Pieces
from ._model.named_arrays import NamedArrays, table
from ._model.naming import Block, Name, blocks, parameter_names
from ._model.training_pass import Trained, TrainingPass, answer, ask
from .links import LINEAR, find_link
from .losses import LossFunction
from .network import Sequential

# So many layers are printed from either end of a network.
_SHOWN = 10


@dataclass(frozen=True, eq=False)
class PartTrace:
    """One of the network's layers, as ``summary()`` counts them.

    Attributes:
        number: counted from 1.
        name: in words.
        parameters: its W, b, gamma, ..., by name; empty where it has none.
        output: what comes out of it, ``(B, n)``.
        output_gradient: dC/d output, ``(B, n)``; None without targets, and below the lowest layer that is trained.
        gradients: dC/d of each parameter, by its name.
    """

    number: int
    name: str
    parameters: NamedArrays = field(repr=False)
    output: Array = field(repr=False)
    output_gradient: Array | None = field(repr=False)
    gradients: NamedArrays = field(repr=False)


@dataclass(frozen=True, eq=False, repr=False)
class LayerTrace:
    """One of the lectures' layers: weights, with the normalisation, activation and dropout that follow them.

    Attributes:
        number: counted from 1.
        name: its parts in words.
        x: its input, ``(B, n_in)``: ``a`` of the layer before.
        parameters: W as ``parameters["W"]``, b as ``parameters["b"]``, and those of what follows the weights.
        z: x W + b, the pre-activations, ``(B, n_out)``.
        a: what goes on to the next layer, ``(B, n_out)``; the last layer's is the prediction: where the loss has a link
            (softmax, sigmoid), the link of z.
        delta: dC/dz, ``(B, n_out)``; None without targets.
        gradients: dC/dW as ``gradients["W"]``, dC/db as ``gradients["b"]``, and those of what follows the weights;
            empty without targets.
        parts: the network's own layers in it, a ``PartTrace`` each.

    Example:
        >>> import chainrule as cr
        >>> layer = cr.trace(cr.Sequential(cr.Dense(2, 1), cr.ReLU()), [[1.0, 2.0]], theta=[3.0, 4.0, -5.0])[1]
        >>> layer
        layer 1: Dense(2, 1), ReLU
        x   1  2
        W1  3
            4
        b1  -5
        z1  6
        a1  6
        >>> layer.z.tolist(), layer.delta
        ([[6.0]], None)
    """

    number: int
    name: str
    x: Array
    parameters: NamedArrays
    z: Array
    a: Array
    delta: Array | None
    gradients: NamedArrays
    parts: tuple[PartTrace, ...]

    def __repr__(self) -> str:
        return table([(f"layer {self.number}: {self.name}", [*self._forward(first=True), *self._back()])])

    def _forward(self, *, first: bool) -> Iterator[tuple[str, Array]]:
        """The rows of the table forward: of the ``first`` layer x, then W, b, z, what comes between, and a if not z."""
        if first:
            yield "x", self.x
        yield from self._parameters()
        for part in self.parts:
            if part.output is self.z:
                yield f"z{self.number}", self.z
            elif part.output is not self.a:
                yield part.name, part.output
        if self.a is not self.z:
            yield f"a{self.number}", self.a

    def _parameters(self) -> Iterator[tuple[str, Array]]:
        yield from ((f"{name}{self.number}", array) for name, array in self.parameters.items())

    def _back(self) -> Iterator[tuple[str, Array]]:
        if self.delta is not None:
            yield f"delta{self.number}", self.delta
            for name, gradient in self.gradients.items():
                yield f"d{name}{self.number}", gradient


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """What ``trace`` saw; ``print`` it for a table like the lectures' worked example.

    ``trace[2]`` is layer 2, ``trace["z2"]`` an array by its name, ``len(trace)`` how many layers there are.

    Attributes:
        layers: a ``LayerTrace`` for each, first to last.
        cost: C, the mean over the examples, of shape ``()``; None without targets.

    Example:
        >>> import chainrule as cr
        >>> network = cr.Sequential(cr.Dense(2, 1), cr.ReLU(), cr.Dense(1, 1))
        >>> seen = cr.trace(network, [[1.0, 2.0]], [1.0], loss="squared_error", theta=[3.0, 4.0, -5.0, 0.5, 0.0])
        >>> list(seen.arrays)
        ['x', 'W1', 'b1', 'z1', 'a1', 'W2', 'b2', 'z2', 'a2', 'C', 'delta2', 'dW2', 'db2', 'delta1', 'dW1', 'db1']
        >>> seen["dW1"] is seen[1].gradients["W"], float(seen.cost)
        (True, 2.0)
    """

    layers: tuple[LayerTrace, ...]
    cost: Array | None = None

    def __getitem__(self, key: int | str) -> Any:
        """A layer by its number, from 1, or an array by its name. Raises MissingEntryError, a KeyError."""
        if isinstance(key, str):
            return self.arrays[key]
        number = whole_number("a layer's number", key)
        if not 1 <= number <= len(self.layers):
            raise MissingEntryError(f"there is no layer {number}: the layers are counted from 1 to {len(self.layers)}.")
        return self.layers[number - 1]

    def __iter__(self) -> Iterator[LayerTrace]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @cached_property
    def arrays(self) -> NamedArrays:
        """All arrays by name, in the order in which they are computed: x, W1, b1, z1, a1, W2, ... forward, C, then
        delta2, dW2, db2, delta1, ... back.
        """
        found = {"x": self.layers[0].x}
        for layer in self.layers:
            found |= layer._parameters()
            found |= {f"z{layer.number}": layer.z, f"a{layer.number}": layer.a}
        found |= {} if self.cost is None else {"C": self.cost}
        for layer in reversed(self.layers):
            found |= layer._back()
        return NamedArrays(found)

    def __repr__(self) -> str:
        rows, layers = self.layers[0].x.shape[-2], self.layers
        title = f"{rows:,} example{'s' if rows > 1 else ''} in rows, one training pass."
        if len(layers) > 2 * _SHOWN:
            title += f" Layers {_SHOWN + 1} to {len(layers) - _SHOWN} are not shown."
            layers = (*layers[:_SHOWN], *layers[-_SHOWN:])
        forward = [(f"layer {one.number}: {one.name}", one._forward(first=one.number == 1)) for one in layers]
        back = [] if self.cost is None else [(f"layer {one.number}, back", one._back()) for one in reversed(layers)]
        cost = [] if self.cost is None else [("", [("C", self.cost)])]
        return table([(title, []), *forward, *cost, *back])


@names_arguments
def trace(
    network: Sequential | Trained,
    X: Any,
    y: Any = None,
    *,
    loss: str | LossFunction | None = None,
    theta: Any = None,
    seed: int = 0,
    backend: str | Backend = "auto",
) -> Trace:
    """Each layer's input, z, a, delta = dC/dz and gradients dC/dW and dC/db, in one training pass forward and back.

    A layer here is the lectures': weights with what follows them, counted from 1. C is the mean over the examples
    without penalty, so 1/m is inside of delta, and dC/dW = x^T delta.

    It is a training pass, not a prediction: batch normalisation takes the batch's mean and variance, and dropout drops,
    by the mask of ``seed``. Both are rows of the table.

    Args:
        network: a network, or a trained model, which brings its own theta, loss, backend and preprocessing.
        X: examples ``(B, n_in)``, or what a model was trained on.
        y: class indices ``(B,)``, or numbers ``(B,)`` or ``(B, n_out)``; default none, and there is no way back.
        loss: by name or object, which y needs; by default the model's. Its link is fused into it: of softmax and
            cross-entropy delta is (a - y) / B.
        theta: all parameters, ``(p,)``; by default the seed's initial weights, or the model's. ``(k, p)`` are k
            networks, and every array then has k in front.
        seed: of the weights and the masks, an integer >= 0; default 0.
        backend: a name or ``cr.backend(...)``; by default the library of X in float32, and
            ``cr.backend("numpy", dtype="float64")`` shows more digits.

    Returns:
        A ``Trace``, its arrays in the library, and on the device, of X; NumPy's for lists and tables.

    Raises:
        DataError: X, y or theta do not fit the network.
        ConfigurationError: y without a loss; a network that cannot be trained through.

    Example:
        >>> import chainrule as cr
        >>> network = cr.Sequential(cr.Dense(2, 2, bias=False), cr.Sigmoid(), cr.Dense(2, 1, bias=False))
        >>> theta = [0.11, 0.21, 0.12, 0.08, 0.14, 0.15]  # W1 row by row, then W2
        >>> float64 = cr.backend("numpy", dtype="float64")
        >>> seen = cr.trace(network, [[2.0, 3.0]], [1.0], loss="squared_error", theta=theta, backend=float64)
        >>> seen
        1 example in rows, one training pass.
        layer 1: Dense(2, 2, bias=False), Sigmoid
        x       2  3
        W1      0.11  0.21
                0.12  0.08
        z1      0.58  0.66
        a1      0.64106741  0.65926039
        layer 2: Dense(2, 1, bias=False)
        W2      0.14
                0.15
        z2      0.1886385
        C       0.32915375
        layer 2, back
        delta2  -0.8113615
        dW2     -0.52013742
                 -0.5348985
        layer 1, back
        delta1  -0.026137198  -0.027339166
        dW1     -0.052274396  -0.054678332
                -0.078411594  -0.082017498
        >>> seen[1].gradients["W"] is seen["dW1"]
        True
    """
    asked = ask(network, X, y, loss=loss, theta=theta, buffers=None, seed=seed, backend=backend)
    asked = asked._replace(backend=asked.backend.copying())  # what is handed out is nobody else's
    with asked.backend.active(), np.errstate(over="ignore", invalid="ignore"):  # an overflow is shown as one
        return _as_trace(answer(asked, stacks=True), asked.loss, given=X)


def _as_trace(seen: TrainingPass, loss: LossFunction | None, given: Any) -> Trace:
    """The pass with its arrays in the library of ``given``."""
    backend, network = seen.backend, seen.network
    give = partial(returned, backend, given=given)
    parts = [_part(seen, i, names, give) for i, names in enumerate(parameter_names(network))]
    prediction = None
    link = LINEAR if loss is None else find_link(loss)
    if link is not LINEAR:
        prediction = f"{link.name} of the loss", give(link.apply(backend, seen.forward[-1][0]))
    layers = _layers(blocks(network), parts, give(seen.x), prediction)
    return Trace(tuple(layers), None if seen.cost is None else give(seen.cost))


def _part(seen: TrainingPass, i: int, names: Sequence[Name], give: Any) -> PartTrace:
    def named(arrays: Pieces) -> NamedArrays:
        return NamedArrays({name.short: give(array) for name, array in zip(names, arrays, strict=True)})

    parameters = named(seen.params[i])
    dy, gradients = seen.backward.get(i, (None, None))
    return PartTrace(
        i + 1,
        str(seen.network.layers[i]),
        parameters,
        give(seen.forward[i][0]),
        None if dy is None else give(dy),
        NamedArrays({}) if gradients is None else named(gradients),
    )


def _layers(
    groups: Sequence[Block], parts: Sequence[PartTrace], x: Array, prediction: tuple[str, Array] | None
) -> Iterator[LayerTrace]:
    """The lectures' layers, made of the network's."""
    for number, (group, weights) in enumerate(groups, 1):
        mine = tuple(parts[i] for i in group)
        last = prediction if number == len(groups) else None
        names, a = [part.name for part in mine], mine[-1].output
        if last is not None:
            names, a = [*names, last[0]], last[1]
        parameters, gradients = (
            NamedArrays({name: array for arrays in found for name, array in arrays.items()})
            for found in zip(*((part.parameters, part.gradients) for part in mine), strict=True)
        )
        z, delta = parts[weights].output, parts[weights].output_gradient
        yield LayerTrace(number, ", ".join(names), x, parameters, z, a, delta, gradients, mine)
        x = a
