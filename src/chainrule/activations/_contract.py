"""What an activation is: a function of one number, its derivative beside it; and one of your own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from .._backend import map_numbers
from .._base.errors import ConfigurationError, require
from .._base.typing import Array, Namespace


@runtime_checkable
class Elementwise(Protocol):
    """A function of one number and its derivative, which is called like a function."""

    @abstractmethod
    def value(self, xp: Namespace, z: Array) -> Array:
        """g(z)."""

    @abstractmethod
    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        """g'(z), where a = g(z)."""

    def __call__(self, z: Any) -> Any:
        """g(z): of an array, in its library, on its device and in its dtype; of a list, as NumPy's; of a number, one.

        Integers become numbers of the library's default float type: float64 in NumPy, float32 in torch and JAX.

        Raises:
            DTypeError: z holds no real numbers.

        Example:
            >>> import numpy as np, chainrule as cr
            >>> cr.Sigmoid()(0.0), cr.ReLU()([-1, 2]), cr.Tanh()(np.zeros(2, np.float32)).dtype
            (0.5, array([0., 2.]), dtype('float32'))
        """
        return map_numbers(self.value, z)


@dataclass(frozen=True)
class Activation(Elementwise):
    """An activation of your own: a function and its derivative, no more.

    Both take ``(xp, z)``, the array namespace and the pre-activations, and return an array of z's shape and dtype.
    Use ``xp`` and Python numbers only, and the same code runs on every backend.

    Args:
        f: g, a function of ``(xp, z)``.
        df: its derivative g', alike.
        name: what tables and errors call it; default "custom".

    Raises:
        ConfigurationError: f or df is no function; when called, what they return is not of z's shape and dtype.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> bump = cr.Activation(lambda xp, z: xp.exp(-z * z), lambda xp, z: -2.0 * z * xp.exp(-z * z), name="bump")
        >>> z = np.asarray([0.0, 1.0])
        >>> bump(z).round(3).tolist()
        [1.0, 0.368]
        >>> network = cr.mlp([1, 3, 1], activation=bump)
        >>> cr.check_gradients(network, [[0.0], [1.0]], [1.0, 2.0], loss="squared_error").passed
        True
    """

    f: Callable[[Namespace, Array], Array]
    df: Callable[[Namespace, Array], Array]
    name: str = "custom"

    def __post_init__(self) -> None:
        both = callable(self.f) and callable(self.df)
        require(both, f"Activation: expected two functions of (xp, z), got {self.f!r} and {self.df!r}.")

    def value(self, xp: Namespace, z: Array) -> Array:
        return _alike(z, self.f(xp, z))

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return _alike(z, self.df(xp, z))


def _alike(z: Array, found: Array) -> Array:
    """What a function of the user's own returned for z, refused unless it is of z's shape and dtype."""
    shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", None)
    if shape != z.shape or dtype != z.dtype:
        got = type(found).__name__ if shape is None else f"{tuple(shape)} and {dtype}"
        raise ConfigurationError(
            f"your activation must return an array of z's shape {tuple(z.shape)} and dtype {z.dtype}, got {got}."
        )
    return found
