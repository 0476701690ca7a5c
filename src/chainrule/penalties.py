"""What a cost adds for large weights. Biases, and the scales and shifts of normalisation, are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ._base.errors import require
from ._base.options import check_numbers
from ._base.typing import Array, Namespace


@dataclass(frozen=True)
class Penalty:
    """C + l1 sum |w| + l2/2 sum w^2, or the same divided by m.

    ``over="cost"`` adds it as written: the strength does not depend on the batch. ``over="examples"`` divides it by m,
    the batch's number of examples (the sum of their weights): the lectures' lambda/(2m) sum w^2, and scikit-learn's
    ``alpha``. In plain gradient descent the l2 term is weight decay, w <- (1 - eta l2) w or (1 - eta l2/m) w.

    Take l2 (ridge; Hoerl & Kennard, 1970) against overfitting, l1 (lasso; Tibshirani, 1996) where most weights should
    be 0: ``fit(..., penalty=cr.Penalty(l2=1e-4))``. In place of l2 with Adam there is ``AdamW``.

    Args:
        l1, l2: what one unit of |w|, and of w^2/2, adds to the cost, >= 0; default 0, nothing.
        over: "cost" or "examples", as above; default "cost".

    Raises:
        ConfigurationError: a negative strength, or another ``over``.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> penalty, w = cr.Penalty(l1=0.1, l2=0.5), np.asarray([3.0, -4.0, 0.0])
        >>> float(penalty.value(np, w, share=1.0))  # 0.1 (3 + 4) + 0.5/2 (9 + 16)
        6.95
        >>> penalty.gradient(np, w, share=1.0).round(2).tolist()  # 0.1 sign w + 0.5 w
        [1.6, -2.1, 0.0]
        >>> float(cr.Penalty(0.1, 0.5, over="examples").value(np, w, share=1 / 2).round(3))  # a batch of two
        3.475
    """

    l1: float = 0.0
    l2: float = 0.0
    over: Literal["cost", "examples"] = "cost"

    def __post_init__(self) -> None:
        check_numbers(self)
        require(self.l1 >= 0 and self.l2 >= 0, f"l1 and l2 must be >= 0, got {self.l1} and {self.l2}.")
        require(self.over in ("cost", "examples"), f"over must be 'cost' or 'examples', got {self.over!r}.")

    def value(self, xp: Namespace, w: Array, share: Array | float) -> Array | float:
        """The penalty of the weights ``w (..., p)``; ``share`` is 1/m, used where the penalty divides by m."""
        total: Array | float = 0.0
        if self.l1:
            total = self.l1 * xp.sum(xp.abs(w), axis=-1)
        if self.l2:
            total = total + 0.5 * self.l2 * xp.sum(w * w, axis=-1)
        return total * share if self.over == "examples" else total

    def gradient(self, xp: Namespace, w: Array, share: Array | float) -> Array:
        """Its derivative with respect to w: l1 sign w + l2 w."""
        g = self.l2 * w
        if self.l1:
            g = g + self.l1 * xp.sign(w)
        return g * share if self.over == "examples" else g
