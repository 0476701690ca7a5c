"""How well a network does on data: its loss and metrics, by name."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .._backend import Backend
from .._base.options import real_number
from .._base.typing import Array
from ..batch import Batch
from ..links import find_link
from ..losses import LossFunction, cost
from ..metrics import METRICS, POWERS, HostMetric
from .schema import Schema


def evaluate(
    backend: Backend,
    forward: Callable[[Array], Array],
    loss: LossFunction,
    batch: Batch,
    metrics: dict[str, HostMetric | None],
    schema: Schema,
) -> dict[str, Array]:
    """``loss`` and metrics by name, each an array ``(1,)`` that is still on the device."""
    xp, link = backend.xp, find_link(loss)
    z = forward(batch.x)
    values = {"loss": xp.reshape(backend.run(cost, loss, z, batch.y, batch.weight)[0], (1,))}
    y = batch.y
    if link.one_class and not xp.isdtype(y.dtype, "integral"):
        y = xp.astype(xp.argmax(y, axis=-1, keepdims=True), xp.int32)
    prediction = link.apply(backend, z)
    for name, metric in metrics.items():
        if metric is None:
            values[name] = METRICS[name](backend, prediction, y, batch.weight) * schema.unit ** POWERS.get(name, 0)
        else:
            true, predicted = (_column(backend.to_numpy(array)) for array in (y, link.decide(backend, z)))
            # Most metrics refuse NaN; a training run that diverges must reach the message that says so.
            known = predicted >= 0 if link.predicts_classes else np.isfinite(predicted)
            value = metric(*map(schema.decode, (true, predicted))) if known.all() else math.nan
            values[name] = backend.asarray([real_number(f"what the metric {name!r} returns", value, nan=True)])
    return values


def _column(x: np.ndarray) -> np.ndarray:
    """``(rows, 1)`` as ``(rows,)``; anything else as it is."""
    return x[:, 0] if x.ndim == 2 and x.shape[1] == 1 else x
