"""A look into the layers while they train."""

from __future__ import annotations

import re
from typing import Any

from .._base.errors import warn
from .._base.options import whole_number
from ..diagnostics import Diagnosis, diagnose
from ..history import Record
from ._callbacks import Callback
from ._run import Run


class Watch(Callback):
    """A callback that diagnoses the network after every ``every``-th epoch, and warns when a layer shows trouble.

    Dead and saturated units, collapsing and exploding activations, vanishing and exploding gradients, as
    ``cr.diagnose`` judges them, always on the same examples. What was said of a layer once is not said again.

    Args:
        X: examples to look at, ``(B, n_in)``; 200 tell enough.
        y: their targets, as ``fit`` takes them.
        every: epochs from one look to the next, >= 1; default 5. The first epoch is looked at in any case.

    Attributes:
        diagnoses: what was found, a ``Diagnosis`` by epoch: ``print(watch.diagnoses[6])``.

    Raises:
        ConfigurationError: ``every`` is no whole number >= 1.

    Example:
        >>> import warnings, numpy as np, chainrule as cr
        >>> X = np.random.default_rng(0).normal(size=(100, 4))
        >>> net = cr.mlp([4] + [8] * 9 + [1], activation="sigmoid")
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     watch = cr.Watch(X, X[:, 0])
        ...     model = cr.fit(net, X, X[:, 0], loss="squared_error", epochs=1, callbacks=[watch])
        >>> str(caught[0].message).split(":")[:2]
        ['epoch 1', ' layers 5 to 9 (collapsed)']
    """

    def __init__(self, X: Any, y: Any, *, every: int = 5) -> None:
        self._X, self._y, self._every = X, y, whole_number("Watch: every", every, least=1)
        self.diagnoses: dict[int, Diagnosis] = {}

    def on_train_begin(self, run: Run) -> None:
        self._said: set[tuple[int, str]] = set()

    def on_epoch_end(self, run: Run, record: Record) -> None:
        if (run.epoch - run.first_epoch) % self._every:
            return
        found = diagnose(run.model(), self._X, self._y)
        self.diagnoses[run.epoch] = found
        # "12 of 64 units are dead" and "13 of 64 units are dead" are one thing to say.
        ills = {(row.number, re.sub(r"[0-9]+", "", ill)) for row in found.rows for ill in row.findings}
        if found.inputs:
            ills.add((0, "inputs"))
        if ills - self._said:
            advice = found.advice.replace(chr(10), " ")
            warn(f"epoch {run.epoch}: {advice[0].lower()}{advice[1:]}")
        self._said |= ills
