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

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from .._backend import Backend
from .._base.typing import Array, Shape
from .._layout import Pieces
from .._random import Key
from ..initializers import Initializer

Residual = Any  # whatever a layer needs back; only that layer looks inside


@dataclass(frozen=True)
class Parameter:
    """A trained array: its name, its shape, how it starts, and whether penalties and weight decay apply to it."""

    name: str
    shape: Shape
    initializer: Initializer
    decays: bool


@dataclass(frozen=True)
class Buffer:
    """An array that forward updates and nothing trains: its name, its shape, and the value it starts with."""

    name: str
    shape: Shape
    value: float


@runtime_checkable
class Layer(Protocol):
    """One layer; a frozen dataclass. One that names it, ``class Scale(Layer)``, need not say what it does not have."""

    def width(self, n_in: int) -> int:
        """The number of outputs for n_in inputs. Raises ConfigurationError where they do not fit."""
        return n_in

    def parameters(self) -> tuple[Parameter, ...]:
        """What is trained."""
        return ()

    def buffers(self) -> tuple[Buffer, ...]:
        """What ``forward`` updates and nothing trains."""
        return ()

    @abstractmethod
    def forward(
        self, backend: Backend, params: Pieces, buffers: Pieces, x: Array, key: Key
    ) -> tuple[Array, Residual, Pieces]:
        """Training: (y, what backpropagation must remember, the buffers updated)."""

    @abstractmethod
    def apply(self, backend: Backend, params: Pieces, buffers: Pieces, x: Array) -> Array:
        """Prediction: y."""

    def gradients(self, backend: Backend, residual: Residual, dy: Array) -> Pieces:
        """dC/dparams, from dy = dC/dy."""
        return ()

    @abstractmethod
    def pullback(self, backend: Backend, params: Pieces, residual: Residual, dy: Array, grads: Pieces) -> Array:
        """dC/dx, from dy and the layer's own ``gradients``."""
