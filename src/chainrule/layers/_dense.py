"""The fully connected layer."""

from __future__ import annotations

from dataclasses import dataclass

from .._backend import Backend
from .._base.errors import require
from .._base.options import check_numbers, whole_number
from .._base.typing import Array
from .._layout import Pieces
from ..initializers import Initializer, find_initializer
from ._contract import Layer, Parameter


@dataclass(frozen=True)
class Dense(Layer):
    """y = x W + b, with x ``(B, n_in)``, W ``(n_in, n_out)``, b ``(1, n_out)``.

    dC/dW = x^T dy, dC/db = sum of dy over the rows, dC/dx = dy W^T (Rumelhart, Hinton & Williams, 1986).

    Faster bodies take its place on NumPy, Numba, SciPy, CuPy, torch: ``chainrule where Dense``.

    Args:
        n_in, n_out: widths, whole numbers >= 1.
        bias: whether b is there; in front of a normalisation it should not be. Default True.
        weight_init, bias_init: what draws W and b at the start, by name or object; "glorot_uniform" and "zeros". He's
            is better in front of ReLU, and is what ``mlp`` takes there.

    Raises:
        ConfigurationError: a width that is no whole number >= 1, an unknown initializer.

    Example:
        >>> import chainrule as cr
        >>> network = cr.Sequential(cr.Dense(2, 1))
        >>> cr.trace(network, [[1.0, 2.0]], theta=[3.0, 4.0, 5.0])["z1"].tolist()  # 1 * 3 + 2 * 4 + 5
        [[16.0]]
        >>> cr.Sequential(cr.Dense(3, 2), cr.Sigmoid(), cr.Dense(2, 1)).size  # 3 * 2 + 2, and 2 + 1
        11
    """

    n_in: int
    n_out: int
    bias: bool = True
    weight_init: str | Initializer = "glorot_uniform"
    bias_init: str | Initializer = "zeros"

    def __post_init__(self) -> None:
        check_numbers(self)
        for name in ("n_in", "n_out"):
            whole_number(f"Dense: {name}", getattr(self, name), least=1)
        find_initializer(self.weight_init)
        find_initializer(self.bias_init)

    def __str__(self) -> str:
        return f"Dense({self.n_in}, {self.n_out}{'' if self.bias else ', bias=False'})"

    def width(self, n_in: int) -> int:
        require(n_in == self.n_in, f"Dense({self.n_in}, {self.n_out}) needs {self.n_in} inputs, got {n_in}.")
        return self.n_out

    def parameters(self) -> tuple[Parameter, ...]:
        W = Parameter("W", (self.n_in, self.n_out), self.weight_init)
        b = Parameter("b", (1, self.n_out), self.bias_init, decays=False)
        return (W, b) if self.bias else (W,)

    def apply(self, backend: Backend, params: Pieces, buffers: Pieces, x: Array) -> Array:
        return backend.run(affine, x, *params)

    def gradients(self, backend: Backend, residual: Array, dy: Array) -> Pieces:
        dW = backend.run(weight_gradient, residual, dy)
        return (dW, backend.run(bias_gradient, dy)) if self.bias else (dW,)

    def pullback(self, backend: Backend, params: Pieces, residual: Array, dy: Array, grads: Pieces) -> Array:
        return backend.run(input_gradient, dy, params[0])


# The three products are functions of the namespace, never the operator @, which CuPy would run where no provider can
# replace it.


def affine(backend: Backend, x: Array, W: Array, b: Array | None = None) -> Array:
    """X W + b.

    Faster bodies take its place on Numba, SciPy, CuPy, torch: ``chainrule where affine``.
    """
    y = backend.xp.matmul(x, W)
    return y if b is None else y + b


def weight_gradient(backend: Backend, x: Array, dy: Array) -> Array:
    """dC/dW = x^T dy.

    Faster bodies take its place on SciPy, CuPy: ``chainrule where weight_gradient``.
    """
    return backend.xp.matmul(x.mT, dy)


def bias_gradient(backend: Backend, dy: Array) -> Array:
    """dC/db = sum over rows of dy.

    Faster bodies take its place on NumPy, Numba, CuPy: ``chainrule where bias_gradient``.
    """
    return backend.xp.sum(dy, axis=-2, keepdims=True)


def input_gradient(backend: Backend, dy: Array, W: Array) -> Array:
    """dC/dx = dy W^T.

    Faster bodies take its place on CuPy, torch: ``chainrule where input_gradient``.
    """
    return backend.xp.matmul(dy, W.mT)
