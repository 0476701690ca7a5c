"""A trained model: a network and its numbers. A value: it predicts, is saved, compared, moved, and never changes."""

from __future__ import annotations

import math
import os
import reprlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, TypeGuard

import numpy as np

from . import serialization
from ._backend import DTYPES, Backend, dtype_name, library_of
from ._errors import ConfigurationError, ModelFileError
from ._kernels import backend as choose_backend
from ._options import real_number
from ._typing import Array
from .data import Batch, check_inputs, prepare
from .history import History, Record
from .losses import LossFunction, cost
from .metrics import METRICS, HostMetric, find_metrics
from .network import Sequential, logits_part
from .prediction import ForwardPass, apply_link, decide
from .streams import open_rows, rows_in_window
from .tables import Preprocessing


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its trained numbers.

    Attributes:
        network: the layers, without arrays.
        theta: all trained parameters, ``(p,)``, an array of ``backend``; read-only by contract.
        buffers: running statistics, ``(q,)``.
        loss: what it was trained for; its link turns the network's last pre-activations into predictions.
        backend: where it runs.
        flat: whether targets were one number a row, so that predictions are ``(rows,)``.
        history: one record an epoch.
        preprocessing: how a table becomes X and predictions become answers, where the command line trained it.

    Predictions come back in the library, and on the device, of the X they were asked with.
    """

    network: Sequential
    theta: Array
    buffers: Array
    loss: LossFunction
    backend: Backend
    flat: bool = True
    history: History = field(default=History(), repr=False)
    preprocessing: Preprocessing | None = field(default=None, repr=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Model):
            return NotImplemented
        mine, theirs = self._numbers(), other._numbers()
        return (
            (self.network, self.loss, self.flat, self.preprocessing)
            == (other.network, other.loss, other.flat, other.preprocessing)
            and dtype_name(self.backend.dtype) == dtype_name(other.backend.dtype)
            and all(np.array_equal(mine[name], theirs[name]) for name in mine)
        )

    __hash__ = None  # type: ignore[assignment]  # equal models may be on different devices, and arrays do not hash

    def __reduce__(self) -> tuple[Any, ...]:
        # A backend holds modules and devices, which do not pickle: its name does, and is looked up again.
        on = self.backend
        place = (on.name, on.device_name, dtype_name(on.dtype), on.compiled)
        numbers = self._numbers()
        rest = (self.loss, self.flat, self.history, self.preprocessing)
        return _unpickle, (place, self.network, numbers["theta"], numbers["buffers"], *rest)

    def predict(self, X: Any) -> Any:
        """Class indices ``(rows,)`` for a softmax loss, 0 or 1 for each output for a sigmoid, else numbers."""
        return self._ask(decide, X)

    def predict_proba(self, X: Any) -> Any:
        """Probabilities: ``(rows, classes)`` for a softmax loss, one for each output for a sigmoid.

        Raises ConfigurationError for a loss without probabilities.
        """
        if self.loss.link not in ("softmax", "sigmoid"):
            raise ConfigurationError(
                f"{type(self.loss).__name__} predicts numbers, not probabilities: use predict(X), or train with "
                "softmax_cross_entropy or sigmoid_cross_entropy."
            )
        return self._ask(apply_link, X)

    def evaluate(
        self, X: Any, y: Any, sample_weight: Any = None, *, metrics: Sequence[str | HostMetric] | None = None
    ) -> dict[str, float]:
        """``loss`` and metrics on data: accuracy for classes and r2 for numbers, unless others are asked for.

        A metric of your own is called with y and the predictions as NumPy arrays; it is NaN where these are not finite.

        Example:
            >>> import numpy as np, chainrule as cr
            >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
            >>> net, adam = cr.mlp([1, 16, 1]), cr.Adam(0.01)
            >>> model = cr.fit(net, X, X[:, 0] ** 2, loss="squared_error", optimizer=adam, epochs=200)
            >>> model.evaluate(X, X[:, 0] ** 2)["r2"] > 0.9
            True
        """
        n_in, n_out = self.network.n_in, self.network.n_out
        batch = prepare(self.backend, X, y, sample_weight, n_in=n_in, n_out=n_out, loss=self.loss, training=False)
        found = find_metrics(metrics, self.loss)
        with np.errstate(all="ignore"):  # r2 of a constant target divides by 0, and says so by its value
            arrays = evaluate(self.backend, self._forward(), self.loss, batch, found)
        values = self.backend.to_numpy(self.backend.xp.concat(list(arrays.values())))
        return {name: float(value) for name, value in zip(arrays, values, strict=True)}

    def summary(self) -> str:
        """Layers, shapes and parameters as a table, and where the model runs."""
        return f"{self.network.summary()}\nloss {type(self.loss).__name__} on {self.backend!r}"

    def to(self, name: str | Backend = "auto", device: Any = None, dtype: Any = None) -> Model:
        """The same model on another backend, device or dtype; ``"auto"`` keeps the library."""
        library = self.backend.name if name == "auto" else name
        target = choose_backend(library, device=device, dtype=dtype or dtype_name(self.backend.dtype))
        numbers = self._numbers()
        theta, buffers = (target.copy(target.asarray(numbers[part])) for part in ("theta", "buffers"))
        return replace(self, theta=theta, buffers=buffers, backend=target)

    def save(self, path: str | os.PathLike[str], *, lenient: bool = False) -> None:
        """Write one ``.safetensors`` file with everything in it.

        ``lenient`` writes null for a part of your own, which has no name in a file: such a file keeps the numbers, and
        ``load`` refuses it.

        Raises FileError where it cannot be written, ConfigurationError for a part of your own.
        """
        serialization.write(path, self._numbers(), self.description(lenient=lenient))

    def description(self, *, lenient: bool = False) -> dict[str, Any]:
        """Everything but the arrays, in JSON. ``lenient``: a part of your own becomes null, which cannot be loaded."""
        return {
            "network": serialization.encode(self.network, lenient=lenient),
            "loss": serialization.encode(self.loss, lenient=lenient),
            "flat": self.flat,
            "history": list(self.history.records),
            "preprocessing": None if self.preprocessing is None else self.preprocessing.to_json(),
        }

    def _numbers(self) -> dict[str, np.ndarray]:
        return {"theta": self.backend.to_numpy(self.theta), "buffers": self.backend.to_numpy(self.buffers)}

    def _ask(self, finish: Callable[[LossFunction, Backend, Array], Array], X: Any) -> Any:
        """The answers for X; for rows that are not in memory a window at a time."""
        rows = open_rows(X)
        if rows is None:
            with np.errstate(all="ignore"):  # NumPy alone would warn of an overflow, which the answer shows
                return self._answer(self._forward(finish)(self._inputs(X)), X)
        length, at_a_time = int(rows.shape[0]), rows_in_window(rows, 1)
        starts = range(0, max(length, 1), at_a_time)
        return np.concatenate([self._ask(finish, np.array(rows[i : min(i + at_a_time, length)])) for i in starts])

    def _inputs(self, X: Any) -> Array:
        return check_inputs(self.backend, X, self.network.n_in)

    def _forward(self, finish: Callable[[LossFunction, Backend, Array], Array] | None = None) -> ForwardPass:
        """The pass that ends in ``finish``: one for each thread, since what it keeps must not be shared."""
        passes = vars(self._kept)
        name = "none" if finish is None else finish.__name__
        if name not in passes:
            last = None if finish is None else partial(finish, self.loss)
            made = ForwardPass(self.backend, logits_part(self.network, self.loss), last)
            passes[name] = made.load(self.theta, self.buffers)
        forward: ForwardPass = passes[name]
        return forward

    @cached_property
    def _kept(self) -> threading.local:
        return threading.local()

    def _answer(self, prediction: Array, X: Any) -> Any:
        """``prediction`` in the shape of the targets, in the library and on the device of X."""
        if self.flat and prediction.ndim == 2 and prediction.shape[-1] == 1:
            prediction = self.backend.xp.reshape(prediction, (-1,))
        owner = library_of(X)
        if owner is self.backend.library and owner.device_of(X) == self.backend.device:
            return prediction
        host = self.backend.to_numpy(prediction)
        return host if owner is None else owner.from_numpy(host, owner.device_of(X))


def load(
    path: str | os.PathLike[str], *, backend: str | Backend = "numpy", device: Any = None, dtype: Any = None
) -> Model:
    """The model in a file that ``save`` wrote, on any backend; ``dtype`` defaults to the one it was saved in.

    Raises FileError where the file cannot be read, ModelFileError where it is no model, was altered, or is newer.
    """
    arrays, description = serialization.read(path)
    try:
        network, loss, prepared = _parts(description)
        _check_arrays(arrays, network, "training" in description)
    except ModelFileError as error:
        raise serialization.refusal(path, error) from error
    target = choose_backend(backend, device=device, dtype=dtype or arrays["theta"].dtype.name)
    return Model(
        network,
        target.asarray(arrays["theta"]),
        target.asarray(arrays["buffers"]),
        loss,
        target,
        flat=description["flat"],
        history=History(tuple(description["history"])),
        preprocessing=prepared,
    )


_PARTS = {"network", "loss", "flat", "history", "preprocessing"}
_BESIDE = {"format", "versions", "training"}


def _parts(description: dict[str, Any]) -> tuple[Sequential, LossFunction, Preprocessing | None]:
    """Network, loss and preprocessing, if these and the rest are, field by field, what ``save`` writes for them.

    A field that is added to a layer or a loss must be put into descriptions of this format before they are compared,
    with the value that it has for all models of before.
    """
    network, loss = (serialization.decode(description.get(name)) for name in ("network", "loss"))
    if not isinstance(network, Sequential) or not isinstance(loss, LossFunction):
        got = f"{type(network).__name__} and {type(loss).__name__}"
        raise ModelFileError(f"the description must have a network and a loss, got {got}")
    unknown = sorted(description.keys() - _PARTS - _BESIDE)
    if unknown:
        raise ModelFileError(f"the description has {reprlib.repr(unknown[0])}, which this version of chainrule lacks")
    complete = description.keys() >= _PARTS
    if not complete or not isinstance(description["flat"], bool) or not _are_records(description["history"]):
        raise ModelFileError("the description's flat, history or preprocessing is not of the form that save writes")
    stored = description["preprocessing"]
    prepared = None if stored is None else Preprocessing.from_json(stored)
    written = {
        "network": serialization.encode(network),
        "loss": serialization.encode(loss),
        "preprocessing": None if prepared is None else prepared.to_json(),
    }
    for name, value in written.items():
        place = serialization.difference(description[name], value, name)
        if place:
            raise ModelFileError(f"the description's {place} is not of the form that save writes")
    if prepared is not None:
        _check_fit(network, prepared)
    return network, loss, prepared


def _check_fit(network: Sequential, prepared: Preprocessing) -> None:
    """The columns are the network's inputs, and the classes its outputs; one output can tell two classes."""
    classes = len(prepared.classes)
    fits = network.n_out == max(classes, 1) or (network.n_out, classes) == (1, 2)
    if network.n_in != prepared.n_features or not fits:
        raise ModelFileError(
            f"the preprocessing makes {prepared.n_features:,} inputs and has {classes:,} classes, which do not fit "
            f"{network!r}"
        )


def _check_arrays(arrays: dict[str, np.ndarray], network: Sequential, checkpoint: bool) -> None:
    """The arrays are the network's; beside them a checkpoint's own."""
    for name, size in (("theta", network.size), ("buffers", network.buffer_layout.size)):
        array = arrays.get(name)
        got = "nothing" if array is None else f"{array.dtype} {array.shape}"
        if array is None or array.shape != (size,) or array.dtype.name not in DTYPES:
            shape = f"({size},)" if size < 2**63 else "that no file can hold"
            raise ModelFileError(f"{name} must be float32 or float64 of shape {shape}, got {got}")
    if arrays["theta"].dtype != arrays["buffers"].dtype:
        got = f"{arrays['theta'].dtype} and {arrays['buffers'].dtype}"
        raise ModelFileError(f"theta and buffers must be of one dtype, got {got}")
    more = [name for name in arrays if name not in ("theta", "buffers")]
    if any(not (checkpoint and name.startswith("training.")) for name in more):
        raise ModelFileError(f"it has arrays that no model has: {', '.join(more)!r}")


def _are_records(records: object) -> TypeGuard[list[Record]]:
    return isinstance(records, list) and all(
        isinstance(record, dict)
        and all(isinstance(value, int | float) and not isinstance(value, bool) for value in record.values())
        for record in records
    )


def _unpickle(
    place: tuple[str, str, str, bool], network: Sequential, theta: np.ndarray, buffers: np.ndarray, *rest: Any
) -> Model:
    name, device, dtype, compiled = place
    on = choose_backend(name, device=device, dtype=dtype, compile=compiled)
    return Model(network, on.asarray(theta), on.asarray(buffers), rest[0], on, *rest[1:])


def evaluate(
    backend: Backend,
    forward: Callable[[Array], Array],
    loss: LossFunction,
    batch: Batch,
    metrics: dict[str, HostMetric | None],
) -> dict[str, Array]:
    """``loss`` and metrics by name, each an array ``(1,)`` that is still on the device."""
    xp = backend.xp
    z = forward(batch.x)
    values = {"loss": xp.reshape(backend.run(cost, loss, z, batch.y, batch.weight)[0], (1,))}
    y = batch.y
    if loss.link == "softmax" and not xp.isdtype(y.dtype, "integral"):
        y = xp.astype(xp.argmax(y, axis=-1, keepdims=True), xp.int32)
    prediction = apply_link(loss, backend, z)
    for name, metric in metrics.items():
        if metric is None:
            values[name] = METRICS[name](backend, prediction, y, batch.weight)
        else:
            true, answers = (_column(backend.to_numpy(array)) for array in (y, decide(loss, backend, z)))
            # Most metrics refuse NaN; a training that diverges must reach the message that says so.
            value = metric(true, answers) if np.isfinite(answers).all() else math.nan
            values[name] = backend.asarray([real_number(f"what the metric {name!r} answers", value, nan=True)])
    return values


def _column(x: np.ndarray) -> np.ndarray:
    """``(rows, 1)`` as ``(rows,)``; anything else as it is."""
    return x[:, 0] if x.ndim == 2 and x.shape[1] == 1 else x
