"""Links: what makes predictions of a network's last pre-activations z.

A loss is stated from z and names the link that it assumes. A link makes probabilities or numbers of z, and decides for
the most likely classes, which it reads off z itself, so that no rounding of a probability changes one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from ._backend import Backend
from ._base.errors import unknown_name
from ._base.typing import Array
from .activations import Exponential, Linear, Sigmoid
from .layers import Activate, Layer, Softmax
from .losses import LinkName, LossFunction


@dataclass(frozen=True)
class Link:
    """``layer`` makes probabilities or numbers of z; ``decision`` makes classes, and is None where there are none."""

    name: LinkName
    layer: Layer
    decision: Callable[[Backend, Array], Array] | None = None

    @property
    def predicts_classes(self) -> bool:
        return self.decision is not None

    @property
    def one_class(self) -> bool:
        """Whether a row has one class, of as many as there are outputs."""
        return self.decision is largest

    def apply(self, backend: Backend, z: Array) -> Array:
        """Probabilities, or numbers."""
        return self.layer.apply(backend, (), (), z)

    def decide(self, backend: Backend, z: Array) -> Array:
        """Class indices, 0 or 1 for each output, or numbers; -1 where there is no class."""
        return self.apply(backend, z) if self.decision is None else backend.run(self.decision, z)


# What makes predictions of z: ``Link.apply``, ``Link.decide``, or a function like them.
LinkFinish: TypeAlias = Callable[[Link, Backend, Array], Array]


def largest(backend: Backend, z: Array) -> Array:
    """The index of each row's largest entry, the first of equals: the class that softmax makes most likely.

    -1 where that entry is not finite, and there is no class.

    Faster bodies take its place on NumPy, Numba: ``chainrule where largest``.
    """
    xp = backend.xp
    return xp.where(xp.isfinite(xp.max(z, axis=-1)), xp.argmax(z, axis=-1), -1)


def positive(backend: Backend, z: Array) -> Array:
    """1 where z > 0, the outcome that sigmoid makes more likely than not, else 0; -1 where z is not finite.

    Faster bodies take its place on NumPy, Numba: ``chainrule where positive``.
    """
    xp = backend.xp
    return xp.where(xp.isfinite(z), xp.astype(z > 0.0, xp.int32), -1)


def note_infinite(backend: Backend, x: Array, z: Array, found: Any) -> Any:
    """Write 1 to ``found`` if a number of x or z, a network's inputs and outputs, is NaN or infinite.

    Also if one is so large that the sum of squares is infinite: who finds a 1 looks closely.

    Faster bodies take its place on NumPy: ``chainrule where note_infinite``.
    """
    xp = backend.xp
    if not xp.isfinite(xp.sum(x * x) + xp.sum(z * z)):
        found[0] = 1
    return found


LINEAR = Link("linear", Activate(Linear()))
LINKS: Mapping[str, Link] = MappingProxyType(
    {
        link.name: link
        for link in (
            LINEAR,
            Link("softmax", Softmax(), largest),
            Link("sigmoid", Activate(Sigmoid()), positive),
            Link("exponential", Activate(Exponential())),
        )
    }
)


def find_link(loss: LossFunction) -> Link:
    """The link that a loss names."""
    if loss.link not in LINKS:
        raise unknown_name("link of a loss", loss.link, LINKS)
    return LINKS[loss.link]
