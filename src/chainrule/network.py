"""A network is a sequence of layers: forward through them, backward through them, and where its parameters lie."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, cast

import numpy as np

from ._backend import Backend
from ._base.arguments import names_arguments
from ._base.errors import ConfigurationError, MissingAttributeError, missing_attribute, require, unknown_name
from ._base.options import as_list, whole_number
from ._base.typing import Array
from ._layout import Layout, Pieces, join
from ._random import Key, host_generator
from .activations import Elementwise, find_activation
from .initializers import Initializer, find_initializer
from .layers import (
    Activate,
    BatchNorm,
    Dense,
    Dropout,
    Layer,
    LayerNorm,
    Parameter,
    RandomizedLeakyReLU,
    Residual,
    Softmax,
)
from .links import LINEAR, LINKS, find_link
from .losses import LossFunction

_FIT = "it holds no numbers, so train it, model = cr.fit(network, X, y, loss=...), and write"
# What people ask of a network.
_INSTEAD = {
    **{name: f"{_FIT} model.{name}(X)" for name in ("predict", "predict_proba")},
    **dict.fromkeys(("evaluate", "score"), f"{_FIT} model.evaluate(X, y)"),
    "save": f"{_FIT} model.save(path)",
    **dict.fromkeys(("fit", "train", "compile"), "write model = cr.fit(network, X, y, loss=...)"),
    **dict.fromkeys(
        ("weights", "biases", "parameters", "coefs_", "intercepts_", "state_dict", "get_weights", "theta"),
        f"{_FIT} model.parameters; network.initial_theta(seed) is what it starts from",
    ),
}


@dataclass(frozen=True, init=False)
class Sequential:
    """Layers one after the other: a value, without arrays in it. ``fit`` trains it, ``summary()`` shows it.

    Faster bodies take its place on torch: ``chainrule where Sequential``.

    Args:
        layers: first to last, at least one with weights. Activations may stand among them as they are. Widths are
            checked here, once.

    Attributes:
        layers: the same, each activation made a layer.
        n_in: how many numbers an example has.
        n_out: how many a prediction has.
        widths: how many go into each layer, and at the end ``n_out``.
        layout: where each parameter lies in theta.
        buffer_layout: where each running statistic lies in the buffers.
        lowest_trained: the first layer with parameters, from 0: no gradient is carried below it.

    Raises:
        ConfigurationError: no layer with weights; a layer whose width is not that of the one before; no layer.

    Example:
        >>> import chainrule as cr
        >>> net = cr.Sequential(cr.Dense(784, 512), cr.ReLU(), cr.Dense(512, 10))
        >>> net.n_in, net.n_out, net.size
        (784, 10, 407050)
    """

    layers: tuple[Layer, ...]
    n_in: int = field(compare=False)  # numbers in an example
    n_out: int = field(compare=False)  # numbers in a prediction
    widths: tuple[int, ...] = field(compare=False)  # numbers between the layers, from n_in to n_out
    layout: Layout = field(compare=False)  # where each parameter lies in theta
    buffer_layout: Layout = field(compare=False)  # where each running statistic lies in the buffers
    lowest_trained: int = field(compare=False)  # the first layer with parameters: no gradient is carried below it
    _parameters: list[tuple[Parameter, ...]] = field(compare=False)  # of each layer, asked for once

    def __init__(self, *layers: Layer | Elementwise) -> None:
        made = tuple(_as_layer(layer) for layer in layers)
        inputs = [n for layer in made if isinstance(n := getattr(layer, "n_in", None), int)]
        parameters = [layer.parameters() for layer in made]
        trained = [i for i, found in enumerate(parameters) if found]
        require(
            len(inputs) > 0 and len(trained) > 0,
            "a network needs at least one Dense layer, or one of your own with an n_in and parameters, got "
            f"{len(made)} others: add cr.Dense(n_in, n_out).",
        )
        widths = _widths(made, inputs[0])
        computed = {
            "layers": made,
            "n_in": widths[0],
            "n_out": widths[-1],
            "widths": widths,
            "layout": Layout.of([[p.shape for p in found] for found in parameters]),
            "buffer_layout": Layout.of([[b.shape for b in layer.buffers()] for layer in made]),
            "lowest_trained": trained[0],
            "_parameters": parameters,
        }
        for name, value in computed.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(str(layer) for layer in self.layers)})"

    @property
    def size(self) -> int:
        """How many parameters there are: (d + 1) m1 + (m1 + 1) m2 + ... for Dense layers."""
        return self.layout.size

    @property
    def weighted(self) -> list[int]:
        """The layers that have weights, from 0; scales and shifts of a normalisation are none."""
        return [i for i, found in enumerate(self._parameters) if any(p.decays for p in found)]

    @property
    def least_rows(self) -> int:
        """How many rows a training batch needs: 2 where there is a batch normalisation."""
        return max(layer.least_rows() for layer in self.layers)

    def multiplications(self, rows: int) -> int:
        """How many the largest product takes on a batch of so many rows: rows n_in n_out, of a Dense layer."""
        return rows * max(layer.multiplications() for layer in self.layers)

    def parts(self) -> Iterator[object]:
        """The layers, and the activations in them."""
        for layer in self.layers:
            yield layer
            yield from layer.parts()

    def summary(self, rows: int | None = None) -> str:
        """A table of layers: the shape of each output, parameters, their number, and multiplications by weights a row.

        The backward pass takes about twice the multiplications of the forward pass, which are shown.

        Args:
            rows: of a batch, >= 1; by default the shapes have a B in place of it.

        Raises:
            ConfigurationError: ``rows`` is no whole number >= 1.

        Example:
            >>> import chainrule as cr
            >>> print(cr.mlp([4, 3, 2]).summary(rows=32))
            layer           output   parameters    count  multiplications
            -------------------------------------------------------------
            1  Dense(4, 3)  (32, 3)  W 4x3, b 1x3     15               12
            2  ReLU         (32, 3)                    0                0
            3  Dense(3, 2)  (32, 2)  W 3x2, b 1x2      8                6
            total                                     23               18
        """
        batch = "B" if rows is None else f"{whole_number('rows', rows, least=1):,}"
        table = [("layer", "output", "parameters", "count", "multiplications")]
        for i, layer in enumerate(self.layers):
            shapes = ", ".join(f"{p.name} {'x'.join(map(str, p.shape))}" for p in layer.parameters())
            count = sum(math.prod(p.shape) for p in layer.parameters())
            products = f"{layer.multiplications():,}"
            table.append((f"{i + 1}  {layer}", f"({batch}, {self.widths[i + 1]})", shapes, f"{count:,}", products))
        products = f"{sum(layer.multiplications() for layer in self.layers):,}"
        return _table([*table, ("total", "", "", f"{self.size:,}", products)])

    def initial_theta(self, seed: int, member: int = 0) -> np.ndarray:
        """Theta at the start, float64 ``(p,)`` on the host: each parameter drawn by itself, keyed by seed and path.

        Args:
            seed: an integer >= 0; ``fit`` starts from those of its own ``seed``.
            member: of a stack of networks, each of which has weights of its own, from 0; default 0.
        """
        pieces = [
            _draw(p, host_generator(seed, "initial weights", member, f"layers.{i}.{p.name}"))
            for i, found in enumerate(self._parameters)
            for p in found
        ]
        return np.concatenate(pieces)

    def initial_buffers(self) -> np.ndarray:
        """The buffers at the start, float64 ``(q,)`` on the host."""
        pieces = [np.full(b.shape, b.value).reshape(-1) for layer in self.layers for b in layer.buffers()]
        return np.concatenate(pieces) if pieces else np.zeros(0)

    def decays(self) -> np.ndarray:
        """1 where theta is a weight, 0 on biases and normalisation, ``(p,)``."""
        pieces = [np.full(p.shape, float(p.decays)).reshape(-1) for found in self._parameters for p in found]
        return np.concatenate(pieces)

    def forward(
        self, backend: Backend, params: Sequence[Pieces], buffers: Array, x: Array, key: Key
    ) -> tuple[Array, list[Residual], Array]:
        """The training pass: (z of the last layer, what each layer remembers, the buffers updated).

        Args:
            backend: where it runs.
            params: theta, as ``layout.split(backend, theta)`` gives it.
            buffers: ``(q,)``.
            x: ``(..., B, n_in)``.
            key: of what is random in the layers; see ``Key``.
        """
        split = self.buffer_layout.split(backend, buffers)
        residuals, updated = [], []
        for y, residual, after in self.walk_forward(backend, params, split, x, key):
            z = y
            residuals.append(residual)
            updated.append(after)
        return z, residuals, join(backend, updated) if self.buffer_layout.size else buffers

    def backward(
        self, backend: Backend, params: Sequence[Pieces], residuals: Sequence[Residual], dy: Array
    ) -> list[Pieces]:
        """dC/dparams of every layer, from dy = dC/dz of the last, ``(..., B, n_out)``, and ``forward``'s residuals."""
        gradients: list[Pieces] = [()] * len(self.layers)
        for i, _, found in self.walk_backward(backend, params, residuals, dy):
            gradients[i] = found
        return gradients

    def walk_forward(
        self, backend: Backend, params: Sequence[Pieces], buffers: Sequence[Pieces], x: Array, key: Key
    ) -> Iterator[tuple[Array, Residual, Pieces]]:
        """What each layer's ``forward`` returns, from the first layer to the last."""
        for i, layer in enumerate(self.layers):
            x, residual, after = layer.forward(backend, params[i], buffers[i], x, key.fold(i))
            if getattr(x, "shape", ())[-1:] != (self.widths[i + 1],):
                raise self._misshapen(i, "forward", "y", x, ("B", self.widths[i + 1]))
            yield x, residual, after

    def walk_backward(
        self, backend: Backend, params: Sequence[Pieces], residuals: Sequence[Residual], dy: Array
    ) -> Iterator[tuple[int, Array, Pieces]]:
        """(i, dC/dy, dC/dparams) of each layer, from the last to the lowest that is trained: the chain rule."""
        for i in reversed(range(self.lowest_trained, len(self.layers))):
            layer = self.layers[i]
            gradients = layer.gradients(backend, residuals[i], dy)
            if len(gradients) != len(params[i]):
                names = [p.name for p in layer.parameters()]
                raise ConfigurationError(f"{layer}: gradients must give one for each of {names}, got {len(gradients)}.")
            for k, gradient in enumerate(gradients):
                if getattr(gradient, "shape", ()) != params[i][k].shape:
                    parameter = layer.parameters()[k]
                    raise self._misshapen(i, "gradients", f"dC/d{parameter.name}", gradient, parameter.shape)
            yield i, dy, gradients
            if i > self.lowest_trained:
                dy = layer.pullback(backend, params[i], residuals[i], dy, gradients)
                if getattr(dy, "shape", ())[-1:] != (self.widths[i],):
                    raise self._misshapen(i, "pullback", "dC/dx", dy, ("B", self.widths[i]))

    def _misshapen(
        self, i: int, method: str, what: str, found: Any, shape: tuple[int | str, ...]
    ) -> ConfigurationError:
        """The error for what a layer of the user's own gives; a faster body would read beyond its end."""
        got = getattr(found, "shape", None)
        got = type(found).__name__ if got is None else f"shape ({', '.join(map(str, got))})"
        wanted = f"({', '.join(map(str, shape))})"
        return ConfigurationError(
            f"layer {i + 1} ({self.layers[i]}): {method} must give {what} as an array of shape {wanted}, got {got}: "
            "chainrule.testing.check_layer says more."
        )

    def apply(self, backend: Backend, theta: Array, buffers: Array, x: Array) -> Array:
        """The prediction pass: z of the last layer, ``(..., B, n_out)``.

        Example:
            >>> import chainrule as cr
            >>> backend = cr.backend("numpy")
            >>> network = cr.Sequential(cr.Dense(2, 1), cr.ReLU())
            >>> theta, buffers, x = (backend.asarray(numbers) for numbers in ([3, 4, -5], [], [[1, 2], [0, 1]]))
            >>> network.apply(backend, theta, buffers, x).tolist()
            [[6.0], [0.0]]
        """
        split = self.layout.split(backend, theta), self.buffer_layout.split(backend, buffers)
        return self.apply_split(backend, *split, x)

    def apply_split(self, backend: Backend, params: Sequence[Pieces], buffers: Sequence[Pieces], x: Array) -> Array:
        """The same, from theta and the buffers as their layouts split them."""
        for layer, ps, bs in zip(self.layers, params, buffers, strict=True):
            x = layer.apply(backend, ps, bs, x)
        return x

    def __call__(self, X: Any) -> NoReturn:
        """Raises MissingAttributeError, a TypeError: a network computes nothing without numbers, a model does."""
        raise MissingAttributeError(f"a network cannot be called: {_FIT} model(X) or model.predict(X).")

    if not TYPE_CHECKING:  # to a type checker a misspelt name is an error

        def __getattr__(self, name: str) -> NoReturn:
            raise missing_attribute(self, name, _INSTEAD)


def flat_gradient(
    backend: Backend, network: Sequential, params: Sequence[Pieces], residuals: Sequence[Residual], dz: Array
) -> Array:
    """dC/dtheta ``(..., p)``, from dz = dC/dz of the last layer: the gradients of all layers, joined.

    Faster bodies take its place on CuPy, torch: ``chainrule where flat_gradient``.
    """
    return backend.run(join, network.backward(backend, params, residuals, dz))


def _widths(layers: Sequence[Layer], n_in: int) -> tuple[int, ...]:
    """The numbers between the layers. Raises ConfigurationError for a layer that does not fit the one before."""
    widths = [n_in]
    for i, layer in enumerate(layers):
        try:
            own = getattr(layer, "n_in", None)
            fits = not isinstance(own, int) or own == widths[-1]
            require(fits, f"{layer} needs {own} inputs, got {widths[-1]}.")
            widths.append(layer.width(widths[-1]))
        except ConfigurationError as error:
            raise ConfigurationError(f"layer {i + 1} of {len(layers)} does not fit: {error}") from None
    return tuple(widths)


def _draw(parameter: Parameter, generator: np.random.Generator) -> np.ndarray:
    """A parameter's first values, ``(p,)``."""
    size = math.prod(parameter.shape)
    try:
        if size >= 2**48:
            raise MemoryError
        drawn = find_initializer(parameter.initializer).draw(generator, parameter.shape)
    except MemoryError:
        need = f"{size * 8 / 2**30:.3g} GB" if size < 2**60 else "more memory than there is"
        raise ConfigurationError(
            f"{parameter.name} of shape {parameter.shape} needs {need}: give smaller widths."
        ) from None
    got = getattr(drawn, "shape", type(drawn).__name__)
    require(got == parameter.shape, f"an initializer must draw an array of shape {parameter.shape}, got {got}.")
    return drawn.reshape(-1)


def _table(rows: list[tuple[str, ...]], numbers: int = 2) -> str:
    """Rows under a head; the last columns are ``numbers``, flush right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    sides = [str.ljust] * (len(widths) - numbers) + [str.rjust] * numbers
    lines = [
        "  ".join(to_side(cell, width) for to_side, cell, width in zip(sides, row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


LAYERS: Mapping[str, Layer] = MappingProxyType({"softmax": Softmax(), "randomized_leaky_relu": RandomizedLeakyReLU()})
Activations: TypeAlias = "str | Elementwise | Layer | Sequence[str | Elementwise | Layer]"


@names_arguments
def mlp(
    sizes: Sequence[int],
    *,
    activation: Activations = "relu",
    output: str | Elementwise | Layer | None = None,
    dropout: float | Sequence[float] = 0.0,
    normalization: Literal["batch", "layer"] | None = None,
    weight_init: str | Initializer | None = None,
    bias_init: str | Initializer = "zeros",
) -> Sequential:
    """A multilayer perceptron: Dense, normalisation, activation, dropout for each hidden layer, then Dense.

    Args:
        sizes: widths from input to output, each >= 1: ``[784, 512, 512, 10]``.
        activation: of the hidden layers, by name or object (``"softmax"`` and ``"randomized_leaky_relu"`` too), or a
            list with one for each; default ``"relu"``.
        output: the last activation; None (the default) ends in pre-activations, which is what a loss with a link
            expects.
        dropout: the rate after each hidden activation, in [0, 1), or a list with one for each; default 0.
        normalization: ``"batch"`` or ``"layer"``, of the hidden pre-activations; Dense then has no bias, which
            normalisation would cancel. Default None.
        weight_init: what draws the weights, by name or object; None (the default) chooses by activation: LeCun for
            SELU, Glorot for (hard) tanh and sigmoid, else He.
        bias_init: what draws the biases; default ``"zeros"``.

    Raises:
        ConfigurationError: an unknown name, fewer than two sizes, a size below 1, a list of another length.

    Example:
        >>> import chainrule as cr
        >>> cr.mlp([64, 32, 10], activation="tanh", dropout=0.1)
        Sequential(Dense(64, 32), Tanh, Dropout(0.1), Dense(32, 10))
        >>> cr.mlp([64, 32, 10]).size == 64 * 32 + 32 + 32 * 10 + 10
        True
    """
    sizes = as_list(sizes, name="sizes", example="784, 512, 10")
    require(len(sizes) >= 2, f"sizes needs at least an input and an output width, got {list(sizes)}.")
    if normalization not in (None, "batch", "layer"):
        raise unknown_name("normalization", normalization, ["batch", "layer"])
    hidden = _one_each("activation", activation, len(sizes) - 2)
    rates = _one_each("dropout", dropout, len(sizes) - 2)
    layers: list[Layer] = []
    for (n_in, n_out), function, rate in zip(pairwise(sizes[:-1]), map(_as_layer, hidden), rates, strict=True):
        chosen = function.usual_weight_init() if weight_init is None else weight_init
        layers.append(Dense(n_in, n_out, bias=normalization is None, weight_init=chosen, bias_init=bias_init))
        if normalization:
            layers.append(BatchNorm(n_out) if normalization == "batch" else LayerNorm(n_out))
        layers.append(function)
        if rate:
            layers.append(Dropout(rate))
    layers.append(
        Dense(
            sizes[-2],
            sizes[-1],
            weight_init="glorot_uniform" if weight_init is None else weight_init,
            bias_init=bias_init,
        )
    )
    if output is not None:
        layers.append(_as_layer(output))
    return Sequential(*layers)


def without_link(network: Sequential, loss: LossFunction) -> Sequential:
    """The network up to the pre-activations that ``loss`` is computed from.

    A last activation equal to the loss's link is left to the loss, where the two are fused. Raises ConfigurationError
    where a link would be applied twice.
    """
    link = find_link(loss)
    if network.layers[-1] == link.layer:
        network = Sequential(*network.layers[:-1])
    last = next((other for other in LINKS.values() if other.layer == network.layers[-1]), LINEAR)
    if LINEAR not in (last, link):
        raise ConfigurationError(
            f"the network ends in {last.name} and the loss {type(loss).__name__} applies {link.name}: the output would "
            f"be squashed twice. Leave the last activation out, or choose a loss whose link is {last.name}."
        )
    return network


_OWN_METHODS = sorted(Layer.__abstractmethods__)


def _one_each(name: str, value: Any, hidden: int) -> list[Any]:
    """``value`` for each hidden layer: itself, or its entries."""
    if not isinstance(value, list | tuple | np.ndarray):
        return [value] * hidden
    require(len(value) == hidden, f"{name} must have one entry for each of {hidden} hidden layers, got {len(value)}.")
    return list(value)


def _as_layer(given: str | Elementwise | Layer) -> Layer:
    """A layer as it is, and an activation as one."""
    if isinstance(given, str) and given in LAYERS:
        return LAYERS[given]
    if isinstance(given, list | tuple):
        raise ConfigurationError(
            "layers stand one after another: write cr.Sequential(cr.Dense(4, 8), cr.Tanh(), cr.Dense(8, 1)), or "
            "cr.Sequential(*layers) of a list."
        )
    if isinstance(given, type):
        raise ConfigurationError(
            f"expected a layer or an activation, got the class {given.__name__}: write an object, {given.__name__}()."
        )
    if isinstance(given, str) or not _is_meant_as_layer(given):
        return Activate(find_activation(cast("str | Elementwise", given)))
    if Layer not in type(given).__mro__:
        kind, lacking = type(given).__name__, [method for method in _OWN_METHODS if not hasattr(given, method)]
        raise ConfigurationError(
            f"expected a layer, got a {kind} that has no {' and no '.join([*lacking, 'base'])}: write class "
            f"{kind}(cr.Layer), with {' and '.join(_OWN_METHODS)}."
        )
    return cast("Layer", given)


def _is_meant_as_layer(given: object) -> bool:
    return any(hasattr(given, method) for method in ("forward", *_OWN_METHODS))
