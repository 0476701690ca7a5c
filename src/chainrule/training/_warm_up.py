"""``warm_up``: Numba's loops compiled before they are needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._backend import DTYPES
from .._base.errors import MissingExtraError
from .._kernels import backend, kept_loops, with_providers
from ..network import mlp
from ..optimizers import ClipNorm
from ._fit import fit


def warm_up() -> str:
    """Compile Numba's loops (``chainrule[fast]``) for all processes of this machine, or load them into this one.

    The first training that is long enough for them would: it takes seconds, once, where their cache can be written to.
    Predictions have the loops from then on, in this process.

    Returns:
        A line: how many there are, how many of them were compiled now, and the folder where they are kept.

    Raises:
        MissingExtraError: Numba is not installed, or cannot be imported.

    Example:
        >>> import chainrule as cr
        >>> said, again = cr.warm_up(), cr.warm_up()
        >>> said.partition(",")[0] == again.partition(",")[0], " 0 compiled now" in again
        (True, True)
    """
    before = kept_loops()
    if before is None:
        raise MissingExtraError("there is nothing to compile without Numba: pip install 'chainrule[fast]'.")
    rng = np.random.default_rng(0)
    X, classes = rng.normal(size=(8, 4)), np.arange(8) % 3
    for dtype in DTYPES:
        on = with_providers(backend("numpy", dtype=dtype), fast=True)
        options: dict[str, Any] = {"epochs": 1, "batch_size": 4, "verbose": False, "backend": on}
        model = fit(mlp([4, 5, 3]), X, classes, loss="softmax_cross_entropy", **options)
        model.predict(X), model.predict(X)  # the second one is compiled
        fit(mlp([4, 5, 1], dropout=0.5), X, X[:, 0], loss="huber", clip=ClipNorm(1.0), **options)
    after = kept_loops()
    assert after is not None, "they were there before"
    where = f"kept in {after.folder}" if after.folder else "kept nowhere, so that each process compiles its own"
    compiled = after.compiled - before.compiled
    return f"{after.loops} loops of Numba for {' and '.join(DTYPES)}, {compiled} compiled now, {where}."
