"""Dense layers whose products do what is left over before they write: ReLU after x W + b, and dC/db beside dC/dW.

cuBLASLt calls that an epilogue. Each saves a launch and a pass over memory; but it is not the same kernel that computes
the product then, and nothing says yet at which sizes one is faster. So the library adds the bias in this way and leaves
it at that, and stage 5, which is to find out, trains a network of these in the place of one of Dense and ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from chainrule._backend import Backend
from chainrule._base.errors import BackendError
from chainrule._kernels import _cupy_products
from chainrule.activations import ReLU
from chainrule.layers import Activate, Dense, Layer, Parameter, activation_gradient
from chainrule.network import Sequential


class Epilogue(IntEnum):  # CUBLASLT_EPILOGUE_
    """What a product does besides. ``out`` of a weight gradient is asked for as dW^T = dy^T x, whose A is dy^T."""

    RELU_BIAS = 6  # max(out + b, 0)
    BGRADA = 256  # b becomes the sums of A's rows, which are those of dy's columns


@dataclass(frozen=True)
class EpilogueDense(Layer):
    """y = x W + b, or with ``relu`` its ReLU, whose slope ``Slope`` is to take."""

    dense: Dense
    relu: bool

    @property
    def n_in(self) -> int:
        return self.dense.n_in

    def width(self, n_in: int) -> int:
        return self.dense.width(n_in)

    def parameters(self) -> tuple[Parameter, ...]:
        return self.dense.parameters()

    def apply(self, backend: Backend, params: Any, buffers: Any, x: Any) -> Any:
        if not self.relu:
            return self.dense.apply(backend, params, buffers, x)
        W, b = params
        return _product(backend, x, W, (False, False), b, Epilogue.RELU_BIAS)

    def gradients(self, backend: Backend, residual: Any, dy: Any) -> Any:
        db = backend.xp.empty((1, self.dense.n_out), dtype=backend.dtype, device=backend.device)
        return _product(backend, residual, dy, (True, False), db, Epilogue.BGRADA), db

    def pullback(self, backend: Backend, params: Any, residual: Any, dy: Any, grads: Any) -> Any:
        return self.dense.pullback(backend, params, residual, dy, grads)


@dataclass(frozen=True)
class Slope(Layer):
    """a as it is: the product below applied ReLU. dC/dz = dC/da where a > 0."""

    def apply(self, backend: Backend, params: Any, buffers: Any, x: Any) -> Any:
        return x

    def pullback(self, backend: Backend, params: Any, residual: Any, dy: Any, grads: Any) -> Any:
        return backend.run(activation_gradient, ReLU(), residual, residual, dy)


def with_epilogues(network: Sequential) -> Sequential:
    """The same function of the same theta. ``network`` is Dense with a bias and ReLU in turn, as ``mlp`` makes it."""
    relu = Activate(ReLU())
    pairs = zip(network.layers, (*network.layers[1:], None), strict=True)
    return Sequential(
        *(EpilogueDense(layer, after == relu) if isinstance(layer, Dense) else Slope() for layer, after in pairs)
    )


def _product(backend: Backend, x: Any, y: Any, transposed: tuple[bool, bool], b: Any, epilogue: Epilogue) -> Any:
    out = _cupy_products._product(backend, x, y, transposed, b, epilogue)
    if out is NotImplemented:
        raise BackendError(f"cuBLASLt has no product of {x.shape} and {y.shape} with the epilogue {epilogue.name}.")
    return out
