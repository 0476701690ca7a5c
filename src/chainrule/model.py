"""A trained model: a network and its numbers. A value: it predicts, is saved, compared, moved, and never changes."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from typing import Any, NoReturn

import numpy as np

from ._backend import Backend, dtype_name, follower, library_of, to_host
from ._backend._library import Library
from ._base.errors import ConfigurationError, DataError, DeviceMemoryError, ModelFileError, readable_size
from ._base.options import check_range
from ._base.typing import Array
from ._data.checks import check_inputs, check_matrix, prepare
from ._data.labels import Label, are_labels
from ._data.streams import are_batches, in_windows, read_once, rows_in_window
from ._kernels import backend as make_backend
from ._model import serialization
from ._model.description import read_fields
from ._model.evaluation import evaluate
from ._model.prediction import ForwardPass
from ._model.schema import Schema
from .history import History
from .links import Link, LinkFinish, find_link
from .losses import LossFunction
from .metrics import HostMetric, find_metrics
from .network import Sequential, without_link
from .tables import Preprocessing


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its trained numbers.

    Attributes:
        network: the layers, without arrays.
        theta: all trained parameters, ``(p,)``, an array of ``backend``: read-only, or a copy where the library has no
            arrays that are. ``dataclasses.replace(model, theta=theta)`` is the model with others.
        buffers: running statistics, ``(q,)``, as theta.
        loss: what it was trained for; its link turns the network's last pre-activations into predictions.
        backend: where it runs.
        flat: whether targets were one number a row, so that predictions are ``(rows,)``.
        history: one record an epoch.
        preprocessing: how a table becomes the network's inputs, and predictions become labels or numbers in the
            target's unit, where it was trained on one (``chainrule train``, ``cr.fit(..., preprocessing=...)``).
        classes: the labels of the classes, in order, where they are known; ``predict`` then gives these.
        feature_names: the columns that it was trained on, where they had names; a frame must have these.

    A model takes what it was trained on. With ``preprocessing`` X is a table, by column name: a pandas, polars or Arrow
    frame, a dict of columns, or the path of a file; or an array of its raw columns, by position. ``y`` is labels, or
    numbers in the target's own unit, and so are predictions. ``without_preprocessing()`` is the network behind.

    Predictions come back in the library, and on the device, of the X they were asked with; in NumPy for tables.
    """

    network: Sequential
    theta: Array
    buffers: Array
    loss: LossFunction
    backend: Backend
    flat: bool = True
    history: History = field(default=History(), repr=False)
    preprocessing: Preprocessing | None = field(default=None, repr=False)
    classes: tuple[Label, ...] = field(default=(), repr=False)
    feature_names: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for name, size in (("theta", self.network.size), ("buffers", self.network.buffer_layout.size)):
            if tuple(vars(self)[name].shape) != (size,):
                raise DataError(f"{name} of {self.network!r} must have shape ({size},), got {vars(self)[name].shape}.")
        with self.backend.active():
            vars(self).update({name: _owned(self.backend, array) for name, array in self._arrays().items()})
        if self.preprocessing is not None:  # which knows both
            known = Schema.of(self.preprocessing)
            vars(self).update(classes=known.classes, feature_names=known.feature_names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Model):
            return NotImplemented
        mine, theirs = self._numbers(), other._numbers()
        return (
            all(getattr(self, name) == getattr(other, name) for name in _COMPARED)
            and dtype_name(self.backend.dtype) == dtype_name(other.backend.dtype)
            and all(np.array_equal(mine[name], theirs[name]) for name in mine)
        )

    __hash__ = None  # type: ignore[assignment]  # equal models may be on different devices, and arrays do not hash

    def __getstate__(self) -> dict[str, Any]:
        # A backend holds modules and devices, which do not pickle: its name does, and is looked up again.
        backend = self.backend
        kind = {
            "name": backend.name,
            "device": backend.device_name,
            "dtype": dtype_name(backend.dtype),
            "compile": backend.compiled,
        }
        rest = {part.name: vars(self)[part.name] for part in fields(self)}
        return {**rest, **self._numbers(), "backend": {**kind, "precision": backend.precision}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        backend = make_backend(**state["backend"])
        arrays = {name: backend.asarray(state[name]) for name in ("theta", "buffers")}
        vars(self).update({**state, **arrays, "backend": backend})
        self.__post_init__()

    def predict(self, X: Any) -> Any:
        """Class indices ``(rows,)`` for a softmax loss, 0 or 1 for each output for a sigmoid, else numbers.

        Where the model knows its ``classes`` their labels come in place of the indices; where it has a
        ``preprocessing`` numbers are in the target's own unit.

        Raises DataError for columns that it was not trained on.
        """
        return self.schema.decode(self.predict_with(Link.decide, X))

    def predict_proba(self, X: Any) -> Any:
        """Probabilities: ``(rows, classes)`` for a softmax loss, one for each output for a sigmoid.

        Two ``classes`` that are known have a column each, also where the network has one output.

        Raises ConfigurationError for a loss without probabilities.
        """
        if not find_link(self.loss).predicts_classes:
            raise ConfigurationError(
                f"{type(self.loss).__name__} predicts numbers, not probabilities: use predict(X), or train with "
                "softmax_cross_entropy or sigmoid_cross_entropy."
            )
        p = self.predict_with(Link.apply, X)
        if (len(self.classes), self.network.n_out) != (2, 1):
            return p
        owner = library_of(p)
        xp = self.backend.xp if owner is None else owner.load()
        p = xp.reshape(p, (-1,))
        return xp.stack([1.0 - p, p], axis=1)

    def evaluate(
        self, X: Any, y: Any, sample_weight: Any = None, *, metrics: Sequence[str | HostMetric] | None = None
    ) -> dict[str, float]:
        """``loss`` and metrics on data: accuracy for classes and r2 for numbers, unless others are asked for.

        A metric of your own is called with y and the predictions as NumPy arrays, in labels or in the target's unit; it
        is NaN where these are not finite. ``loss`` is the one that was trained on, so with ``preprocessing`` that of
        the standardised target; metrics are in the target's own unit.

        Example:
            >>> import numpy as np, chainrule as cr
            >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
            >>> net, adam = cr.mlp([1, 16, 1]), cr.Adam(0.01)
            >>> model = cr.fit(net, X, X[:, 0] ** 2, loss="squared_error", optimizer=adam, epochs=200)
            >>> model.evaluate(X, X[:, 0] ** 2)["r2"] > 0.9
            True
        """
        n_in, n_out, backend, schema = self.network.n_in, self.network.n_out, self.backend, self.schema
        found = find_metrics(metrics, self.loss)
        X = read_once(schema.inputs(X))
        y, sample_weight = schema.targets(y), schema.weights(sample_weight)
        try:
            with backend.active(), np.errstate(all="ignore"):  # r2 of a constant target divides by 0, and says so
                batch = prepare(backend, X, y, sample_weight, n_in=n_in, n_out=n_out, loss=self.loss, training=False)
                arrays = evaluate(backend, self._forward(), self.loss, batch, found, schema)
                values = backend.to_numpy(backend.xp.concat(list(arrays.values())))
        except MemoryError as error:
            self._ran_out(error, X)
        return {name: float(value) for name, value in zip(arrays, values, strict=True)}

    def without_preprocessing(self) -> Model:
        """The network behind: it takes arrays of the numbers that the network is given, and predicts in its own.

        Classes are then numbers from 0, and a standardised target stays standardised.
        """
        return replace(self, preprocessing=None, classes=(), feature_names=())

    @cached_property
    def schema(self) -> Schema:
        """What it was trained on: how X and y become numbers, and predictions become labels and units."""
        return Schema(self.preprocessing, self.classes, self.feature_names)

    def summary(self) -> str:
        """Layers, shapes and parameters as a table, and where the model runs."""
        return f"{self.network.summary()}\nloss {type(self.loss).__name__} on {self.backend!r}"

    def to(self, name: str | Backend = "auto", device: Any = None, dtype: Any = None) -> Model:
        """The same model on another backend, device or dtype; ``"auto"`` keeps the library.

        Raises ConfigurationError or DataError for numbers that the dtype cannot hold.
        """
        library = self.backend.name if name == "auto" else name
        found_backend = make_backend(library, device=device, dtype=dtype or dtype_name(self.backend.dtype))
        numbers = self._numbers()
        _check_in_range(self.network, numbers, dtype_name(found_backend.dtype))
        with found_backend.active():
            theta, buffers = (found_backend.asarray(numbers[part]) for part in ("theta", "buffers"))
        return replace(self, theta=theta, buffers=buffers, backend=found_backend)

    def save(self, path: str | os.PathLike[str], *, lenient: bool = False) -> None:
        """Write one ``.safetensors`` file with everything in it, whole or not at all.

        A link stays, and what it points to is written; a file that is there keeps its mode, and its other hard links
        what they had.

        ``lenient`` writes null for a part of your own, which has no name in a file: such a file keeps the numbers, and
        ``load`` refuses it.

        Raises FileError where it cannot be written, ConfigurationError for a part of your own.
        """
        serialization.write(path, self._numbers(), self.description(lenient=lenient))

    def description(self, *, lenient: bool = False) -> dict[str, Any]:
        """Everything but the arrays, in JSON. ``lenient``: a part of your own becomes null, which cannot be loaded."""
        network, loss = (serialization.encode(part, lenient=lenient) for part in (self.network, self.loss))
        if serialization.is_too_large(network, loss):
            raise ConfigurationError(
                f"a model file describes a network in at most {serialization.MOST:,} values, and this one has more, in "
                f"{len(self.network.layers):,} layers: save the arrays model.theta and model.buffers."
            )
        return {
            "network": network,
            "loss": loss,
            "flat": self.flat,
            "history": list(self.history.records),
            "preprocessing": None if self.preprocessing is None else self.preprocessing.to_json(),
            **self._names(lenient),
        }

    def _names(self, lenient: bool) -> dict[str, Any]:
        """Classes and feature names, where there are any that the preprocessing does not know."""
        if self.preprocessing is not None:
            return {}
        if not (are_labels(list(self.classes)) or lenient):
            raise ConfigurationError(
                "a file holds classes that are text, truth values or numbers below 2**64, got "
                f"{type(self.classes[0]).__name__}: train on labels made to text, y.astype(str)."
            )
        names = {"classes": list(self.classes), "feature_names": list(self.feature_names)}
        return {name: value for name, value in names.items() if value and are_labels(value)}

    def _arrays(self) -> dict[str, Array]:
        return {name: vars(self)[name] for name in ("theta", "buffers")}

    def _numbers(self) -> dict[str, np.ndarray]:
        return {name: self.backend.to_numpy(array) for name, array in self._arrays().items()}

    def predict_with(self, finish: LinkFinish, X: Any) -> Any:
        """``finish(link, backend, z)`` of the last pre-activations z of X, in the library of X.

        Rows that are not in memory are asked a window at a time.
        """
        if are_batches(X):
            return self._predict_batches(finish, X() if callable(X) else X)
        owner = follower(X)
        if owner is not None:
            return self._predict_traced(owner, finish, X)
        schema, rows = self.schema, self.schema.open_rows(X)
        if rows is None:
            return self._predict_numbers(finish, schema.inputs(X), X)
        predictions, first = [], 0
        for window in in_windows(rows):
            try:
                x = schema.window(rows, window)
                predictions.append(self._predict_numbers(finish, x, x))
            except DataError as error:
                if first == 0:
                    raise
                raise DataError(f"counted from row {first:,}: {error}") from error
            first += len(window)
        return np.concatenate(predictions)

    def _predict_numbers(self, finish: LinkFinish, x: Any, X: Any) -> Any:
        """The same of the network's inputs x, in the library of X."""
        host = self._left_on_host(x)
        if host is not None:
            return np.concatenate([self._predict_numbers(finish, part, part) for part in in_windows(host)])
        try:
            with self.backend.active(), np.errstate(all="ignore"):  # NumPy alone would warn of an overflow
                predictions = self._forward(finish)(self._inputs(x))
                if finish is Link.decide:
                    self.check_decided(predictions, x)
                return self._as_given(predictions, X)
        except MemoryError as error:
            self._ran_out(error, x)

    def _predict_batches(self, finish: LinkFinish, batches: Any) -> Any:
        """The predictions for batches of rows, one below the other, as for the first one. Of ``(X, y)`` X is taken."""
        if not hasattr(batches, "__iter__"):
            raise DataError(f"expected X or an iterable of batches, got a {type(batches).__name__}.")
        first, predictions = None, []
        for batch in batches:
            prediction = self.predict_with(finish, batch[0] if isinstance(batch, tuple | list) else batch)
            first = prediction if first is None else first
            predictions.append(to_host(prediction))  # now: the next batch may be made in the memory of this one
        if first is None:
            raise DataError("there is no batch: expected an iterable of batches of rows.")
        owner, whole = library_of(first), np.concatenate(predictions)
        return whole if owner is None else owner.from_numpy(whole, owner.device_of(first))

    def _predict_traced(self, owner: Library, finish: LinkFinish, X: Any) -> Any:
        """The predictions as a function of X that jax.jit, jax.grad, torch.func.grad and the like can follow."""
        backend = self.backend
        if owner is not backend.library:
            raise DataError(
                f"{owner.NAME} follows what is done with X, to differentiate or to compile it, which a model on "
                f"{backend.name} does not allow: ask model.to({owner.NAME!r})."
            )
        if self.preprocessing is not None:
            raise DataError(
                f"{owner.NAME} cannot follow how a table is encoded: ask model.without_preprocessing(), which takes "
                "what the network is given."
            )
        with backend.active():
            network, x = without_link(self.network, self.loss), check_matrix(X, self.network.n_in)
            z = network.apply(backend, vars(self)["theta"], vars(self)["buffers"], backend.xp.astype(x, backend.dtype))
            return self._shaped(finish(find_link(self.loss), backend, z))

    def _left_on_host(self, X: Any) -> np.ndarray | None:
        """X, where the device has no room for it and for its predictions; it is then asked a window at a time."""
        memory = self.backend.memory
        size = 0 if memory is None else self.backend.bytes_to_move(X)
        if memory is None or size == 0 or len(X) <= rows_in_window(X, 1) or 2 * size <= memory.free():
            return None
        return to_host(X)

    def _ran_out(self, error: MemoryError, X: Any) -> NoReturn:
        """Raise DeviceMemoryError for an error of the device, the host's own as it is."""
        memory = self.backend.memory
        if memory is None:
            raise error
        traceback.clear_frames(error.__traceback__)  # they hold the arrays that filled the memory
        each, free = bytes_a_row(self.backend, self.network), memory.free()
        raise DeviceMemoryError(
            f"{self.backend.device_name} ran out of memory: {len(X):,} rows take up to about "
            f"{readable_size(each * len(X))}, and {readable_size(free)} are free: ask for at most about "
            f"{max(1, free // each):,} rows at a time."
        ) from error

    def check_decided(self, predictions: Array, X: Any) -> None:
        """Raise DataError where ``predictions``, classes by number, have none for some rows: the outputs overflowed."""
        if not find_link(self.loss).predicts_classes:
            return
        backend = self.backend
        lowest = (
            np.minimum.reduce(predictions, None)
            if isinstance(predictions, np.ndarray)
            else backend.to_numpy(backend.xp.min(predictions))
        )
        if lowest >= 0:
            return
        host, rows = to_host(predictions), X if hasattr(X, "toarray") else to_host(X)
        lost = np.flatnonzero(~(host >= 0).reshape(len(host), -1).all(axis=1))
        raise DataError(
            f"the network's outputs are not finite in {dtype_name(backend.dtype)} for {len(lost)} of {len(host)} rows "
            f"({', '.join(map(str, lost[:5]))}{', ...' if len(lost) > 5 else ''}), so these have no class: they reach "
            f"{abs(rows[lost]).max():.3g}, give X as it was scaled for training."
        )

    def _check_finite(self) -> None:
        """Raise DataError for weights that are NaN or infinite: all predictions would be, and the classes the first."""
        for name, numbers in self._numbers().items():
            bad = np.sum(~np.isfinite(numbers))
            if bad:
                raise DataError(
                    f"this model cannot predict: {bad:,} of the {numbers.size:,} numbers of its {name} are NaN or "
                    "infinite. Train it anew, or load another file of its training, as best.safetensors."
                )

    def _inputs(self, X: Any) -> Array:
        return check_inputs(self.backend, X, self.network.n_in)

    def _forward(self, finish: LinkFinish | None = None) -> ForwardPass:
        """The pass that ends in ``finish``: one for each thread, since what it keeps must not be shared."""
        passes: dict[Any, ForwardPass] = vars(self._cache).setdefault("passes", {})
        if finish not in passes:
            self._check_finite()
            last = None if finish is None else partial(finish, find_link(self.loss))
            made = ForwardPass(self.backend, without_link(self.network, self.loss), last)
            passes[finish] = made.load(**self._arrays())
        return passes[finish]

    @cached_property
    def _cache(self) -> threading.local:
        return threading.local()

    def _as_given(self, prediction: Array, X: Any) -> Any:
        """``prediction`` in the shape of the targets, in the library and on the device of X."""
        prediction = self._shaped(prediction)
        owner = library_of(X)
        if owner is self.backend.library and owner.device_of(X) == self.backend.device:
            return prediction
        host = self.backend.to_numpy(prediction)
        return host if owner is None else owner.from_numpy(host, owner.device_of(X))

    def _shaped(self, prediction: Array) -> Array:
        one = self.flat and prediction.ndim == 2 and prediction.shape[-1] == 1
        return self.backend.xp.reshape(prediction, (-1,)) if one else prediction


def _owned(backend: Backend, array: Array) -> Array:
    """``array`` on the backend; copied, or somebody who writes to it would change some predictions and not others."""
    moved = backend.asarray(array)
    base = getattr(moved, "base", None)
    root = moved if base is None else base
    sealed = isinstance(root, np.ndarray) and root.flags.owndata and not root.flags.writeable
    return moved if sealed else backend.copy(moved)


@dataclass(frozen=True)
class _Own:
    """A field of a model whose array does not leave it: what is written into what it gives changes no prediction."""

    name: str

    def __get__(self, model: Model, owner: type) -> Array:
        return model.backend.library.hand_out(vars(model)[self.name])

    def __set__(self, model: Model, array: Array) -> None:  # by dataclass, once, when the model is made
        vars(model)[self.name] = array


for _name in ("theta", "buffers"):  # in the class's body dataclass would take them for defaults
    setattr(Model, _name, _Own(_name))


def load(
    path: str | os.PathLike[str], *, backend: str | Backend = "numpy", device: Any = None, dtype: Any = None
) -> Model:
    """The model in a file that ``save`` wrote, on any backend; ``dtype`` defaults to the one it was saved in.

    Raises FileError where the file cannot be read, ModelFileError where it is no model, was altered, or is newer.
    """
    arrays, description = serialization.read(path)
    try:
        described = read_fields(arrays, description)
    except ModelFileError as error:
        raise serialization.refusal(path, error) from error
    found_backend = make_backend(backend, device=device, dtype=dtype or arrays["theta"].dtype.name)
    _check_in_range(described["network"], arrays, dtype_name(found_backend.dtype))
    for array in arrays.values():
        array.flags.writeable = False  # nobody else has it: the model takes it as it is
    return Model(theta=arrays["theta"], buffers=arrays["buffers"], backend=found_backend, **described)


_COMPARED = ("network", "loss", "flat", "preprocessing", "classes", "feature_names")


def _check_in_range(network: Sequential, numbers: dict[str, np.ndarray], dtype: str) -> None:
    """What is finite must be so in the dtype too."""
    check_range(network.parts(), dtype)
    if np.finfo(dtype).max >= np.finfo(numbers["theta"].dtype).max:
        return
    for name in ("theta", "buffers"):
        before = numbers[name]
        with np.errstate(over="ignore"):
            lost = np.isfinite(before) & ~np.isfinite(before.astype(dtype))
        if lost.any():
            raise DataError(
                f"{dtype} cannot hold {np.sum(lost):,} of the model's numbers, up to {np.abs(before[lost]).max():.3g}: "
                "keep dtype='float64'."
            )


def bytes_a_row(backend: Backend, network: Sequential) -> int:
    """How many bytes a row takes in the outputs of all layers."""
    widths = [network.n_in]
    for layer in network.layers:
        widths.append(layer.width(widths[-1]))
    return sum(widths) * np.dtype(dtype_name(backend.dtype)).itemsize
