"""Activations: each with its value a = g(z) and its derivative g'(z), side by side.

``cr.Tanh()(z)`` is g(z) of an array of any library, a list or a number. ``value(xp, z)`` and ``derivative(xp, z, a)``
are what a network calls, with its array API namespace; ``derivative`` is handed ``a = value(z)`` because the sigmoid
and tanh need nothing else. Write your own with ``cr.Activation(f, df)``. Softmax and the randomised leaky ReLU are not
functions of one number: they are layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .._base.options import find
from ._contract import Activation as Activation
from ._contract import Elementwise as Elementwise
from ._elementary import Cosine as Cosine
from ._elementary import Exponential as Exponential
from ._elementary import Linear as Linear
from ._elementary import Polynomial as Polynomial
from ._elementary import Sine as Sine
from ._gated import GELU as GELU
from ._gated import GELUTanh as GELUTanh
from ._gated import HardSwish as HardSwish
from ._gated import Mish as Mish
from ._gated import SiLU as SiLU
from ._rectifiers import ELU as ELU
from ._rectifiers import SELU as SELU
from ._rectifiers import LeakyReLU as LeakyReLU
from ._rectifiers import ReLU as ReLU
from ._rectifiers import Softplus as Softplus
from ._saturating import HardSigmoid as HardSigmoid
from ._saturating import HardTanh as HardTanh
from ._saturating import Sigmoid as Sigmoid
from ._saturating import Step as Step
from ._saturating import Tanh as Tanh

ACTIVATIONS: Mapping[str, Elementwise] = MappingProxyType(
    {
        "linear": Linear(),
        "step": Step(),
        "sigmoid": Sigmoid(),
        "tanh": Tanh(),
        "relu": ReLU(),
        "leaky_relu": LeakyReLU(),
        "elu": ELU(),
        "selu": SELU(),
        "gelu": GELU(),
        "gelu_tanh": GELUTanh(),
        "silu": SiLU(),
        "mish": Mish(),
        "softplus": Softplus(),
        "hard_sigmoid": HardSigmoid(),
        "hard_tanh": HardTanh(),
        "hard_swish": HardSwish(),
        "exponential": Exponential(),
        "sine": Sine(),
        "cosine": Cosine(),
        "polynomial": Polynomial(),
    }
)


def find_activation(activation: str | Elementwise) -> Elementwise:
    """The activation of this name, or the object itself."""
    return find(
        "activation",
        activation,
        ACTIVATIONS,
        Elementwise,
        expected="an activation, with value(xp, z) and derivative(xp, z, a)",
        write="a name like 'relu', or wrap your two functions as cr.Activation(f, df)",
    )


def usual_weight_init(activation: Elementwise) -> str:
    """What draws the weights below it, by name: LeCun for SELU, Glorot for (hard) tanh and sigmoid, else He.

    He et al. (2015) made theirs for ReLU, Glorot & Bengio (2010) theirs for functions that are linear at 0.
    """
    if isinstance(activation, SELU):
        return "lecun_normal"
    return "glorot_uniform" if isinstance(activation, Tanh | Sigmoid | HardTanh | HardSigmoid) else "he_normal"
