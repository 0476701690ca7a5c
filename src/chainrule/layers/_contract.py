"""What a layer is: shapes and hyper-parameters, and four functions of arrays. No layer holds an array.

Training: ``forward(params, buffers, x, key) -> (y, residual, buffers)``, where the residual is what backpropagation
must remember. Prediction: ``apply(params, buffers, x) -> y``. There is no training flag to contradict.

Backward, the two textbook equations: ``gradients(residual, dy)`` gives dC/dparams, and
``pullback(params, residual, dy, grads)`` gives dC/dx; ``grads`` is there because batch normalisation's dC/dx is made of
its own gradients.

Shapes: x ``(..., B, n_in)``, dy ``(..., B, n_out)``, a matrix ``(..., n_in, n_out)``, a vector ``(..., 1, n)``. The
batch is axis -2, and nothing reduces over any axis before it: leading axes are stacks of networks.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from .._backend import Backend
from .._base.options import as_list, whole_number
from .._base.short_name import short_name
from .._base.typing import Array, Shape
from .._layout import Pieces
from .._random import Key
from ..initializers import INITIALIZERS, Initializer, find_initializer

Residual = Any  # whatever a layer needs back; only that layer looks inside


@dataclass(frozen=True)
class Parameter:
    """A trained array: its name, its shape, how it starts, and whether penalties and weight decay apply to it.

    Args:
        name: ``"W"``, one of the names of its layer.
        shape: ``(n_in, n_out)`` of a matrix, ``(1, n)`` of a vector.
        initializer: what draws it, by name or object; default "glorot_uniform".
        decays: True for weights, the default; False for biases, scales and shifts.

    Raises:
        ConfigurationError: an unknown initializer, or a shape that is no tuple of whole numbers >= 1.

    Example:
        >>> import chainrule as cr
        >>> for parameter in cr.Dense(3, 2).parameters():
        ...     print(parameter.name, parameter.shape, parameter.decays)
        W (3, 2) True
        b (1, 2) False
    """

    name: str
    shape: Shape
    initializer: Initializer | str = "glorot_uniform"
    decays: bool = True

    def __post_init__(self) -> None:
        name, shape = f"the shape of the parameter {self.name}", self.shape
        if not (isinstance(shape, tuple) and all(type(n) is int and n >= 1 for n in shape)):
            whole = [whole_number(f"{name}: each", n, least=1) for n in as_list(shape, name=name, example="3, 2")]
            object.__setattr__(self, "shape", tuple(whole))
        if not (isinstance(self.initializer, str) and self.initializer in INITIALIZERS):
            find_initializer(self.initializer)


@dataclass(frozen=True)
class Buffer:
    """An array that forward updates and nothing trains: its name, its shape, and the value it starts with.

    Args:
        name: ``"mean"``, one of the names of its layer.
        shape: ``(1, n)`` of a vector.
        value: of every element at the start.

    Example:
        >>> import chainrule as cr
        >>> cr.BatchNorm(2).buffers()
        (Buffer(name='mean', shape=(1, 2), value=0.0), Buffer(name='variance', shape=(1, 2), value=1.0))
    """

    name: str
    shape: Shape
    value: float


@runtime_checkable
class Layer(Protocol):
    """One layer: a frozen dataclass of a class that names this one, ``class Scale(cr.Layer)``.

    ``apply`` and ``pullback`` must be there; a layer with weights has ``parameters`` and ``gradients`` too, and one
    that changes the width has ``width``. ``forward`` by default remembers x: a layer whose backward pass needs
    something else, that is random, or that has buffers, has its own. The first layer of a network has an int ``n_in``.

    ``traceable = True`` in the class says that NumPy may record a step with this layer and replay it, as it does with
    the library's: what the layer does is then arrays in and arrays out, and it reads and changes nothing else. A class
    does not inherit it. ``chainrule.testing.check_layer`` tries it.

    Example:
        >>> from dataclasses import dataclass
        >>> import chainrule as cr
        >>> @dataclass(frozen=True)
        ... class Scale(cr.Layer):
        ...     factor: float
        ...     def apply(self, backend, params, buffers, x):
        ...         return self.factor * x
        ...     def pullback(self, backend, params, residual, dy, grads):
        ...         return self.factor * dy
        >>> cr.Sequential(cr.Dense(2, 3), Scale(0.5), cr.Dense(3, 1))
        Sequential(Dense(2, 3), Scale(0.5), Dense(3, 1))
    """

    def __str__(self) -> str:
        return short_name(self)

    def width(self, n_in: int) -> int:
        """The number of outputs for n_in inputs. Raises ConfigurationError where they do not fit."""
        return n_in

    def parameters(self) -> tuple[Parameter, ...]:
        """What is trained."""
        return ()

    def buffers(self) -> tuple[Buffer, ...]:
        """What ``forward`` updates and nothing trains."""
        return ()

    def forward(
        self, backend: Backend, params: Pieces, buffers: Pieces, x: Array, key: Key
    ) -> tuple[Array, Residual, Pieces]:
        """Training: (y, what backpropagation must remember, buffers updated); by default (apply's y, x, buffers)."""
        return self.apply(backend, params, buffers, x), x, buffers

    @abstractmethod
    def apply(self, backend: Backend, params: Pieces, buffers: Pieces, x: Array) -> Array:
        """Prediction: y."""

    def gradients(self, backend: Backend, residual: Residual, dy: Array) -> Pieces:
        """dC/dparams, from dy = dC/dy."""
        return ()

    @abstractmethod
    def pullback(self, backend: Backend, params: Pieces, residual: Residual, dy: Array, grads: Pieces) -> Array:
        """dC/dx, from dy and the layer's own ``gradients``."""

    def least_rows(self) -> int:
        """How many rows a training batch needs; 2 for what takes a variance over them."""
        return 1

    def normalizes(self) -> Literal["columns", "rows"] | None:
        """What comes out standardised: each column over the batch, each row, or neither."""
        return None

    def slopes(self, backend: Backend, residual: Residual) -> Array | None:
        """g'(z) of each unit, where the layer is a function of one number."""
        return None

    def multiplications(self) -> int:
        """How many multiplications by weights a row takes: as many as there are weights, where none is shared."""
        return sum(math.prod(p.shape) for p in self.parameters() if p.decays)

    def parts(self) -> Iterator[object]:
        """What the layer calls that is a part of its own: an activation."""
        yield from ()

    def usual_weight_init(self) -> str:
        """What draws the weights below, by name, where nothing is said: the initializer that was made for it."""
        return "he_normal"
