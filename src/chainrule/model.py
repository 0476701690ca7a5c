"""A trained model: a network and its numbers. A value: it predicts, is saved, compared, moved, and never changes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ._backend import Backend, dtype_name, library_of
from ._base.arguments import names_arguments
from ._base.errors import ConfigurationError, DataError, ModelFileError, missing_attribute, require
from ._base.typing import Array
from ._data.labels import Label
from ._kernels import backend as make_backend
from ._kernels import moved
from ._model import serialization
from ._model.description import read_fields, write_fields
from ._model.named_arrays import NamedArrays
from ._model.naming import named_buffers, named_parameters
from ._model.numbers import Own, check_in_range, owned
from ._model.predictor import Predictor
from ._model.schema import Schema
from .history import History
from .links import Link, LinkFinish, find_link
from .losses import LossFunction, find_loss
from .metrics import HostMetric, find_metrics
from .network import Sequential, without_link
from .tables import Preprocessing

# What people ask of a model.
_BY_NAME = 'write model.parameters, and model.parameters["W1"] for the weights of layer 1'
_INSTEAD = {
    **dict.fromkeys(("weights", "biases", "coefs_", "intercepts_", "state_dict", "get_weights"), _BY_NAME),
    "layers": "write model.network.layers, and model.parameters for W and b of each",
    "forward": "write model(X) for the network's output, or cr.trace(model, X) for that of every layer",
    "score": "write model.evaluate(X, y)",
    "fit": "write cr.fit(model, X, y, ...), which trains it further and gives a new model",
}
_OTHER_FORMATS = (
    ".pt",
    ".pth",
    ".h5",
    ".hdf5",
    ".keras",
    ".pkl",
    ".pickle",
    ".joblib",
    ".onnx",
    ".npz",
    ".npy",
    ".json",
)
_COMPARED = ("network", "loss", "flat", "preprocessing", "classes", "feature_names")  # beside the numbers


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its trained numbers: what ``fit`` and ``load`` return. It never changes.

    Attributes:
        network: the layers, without arrays.
        theta: all trained parameters, ``(p,)``, an array of ``backend``: read-only, or a copy where the library has no
            arrays that are. ``dataclasses.replace(model, theta=theta)`` is the model with others.
        buffers: running statistics, ``(q,)``, as theta.
        loss: what it was trained for; its link turns the network's last pre-activations into predictions.
        backend: where it runs.
        flat: whether targets were one number a row, so that predictions are ``(rows,)``; default yes.
        history: one record an epoch; default none.
        preprocessing: how a table becomes the network's inputs, and predictions become labels or numbers in the
            target's unit, where it was trained on one (``chainrule train``, ``cr.fit(..., preprocessing=...)``).
        classes: the labels of the classes, in order, where they are known; ``predict`` then gives these.
        feature_names: the columns that it was trained on, where they had names; a frame must have these.

    A model takes what it was trained on. With ``preprocessing`` X is a table, by column name: a pandas, polars or Arrow
    frame, a dict of columns, or the path of a file; or an array of its raw columns, by position. ``y`` is labels, or
    numbers in the target's own unit, and so are predictions. ``without_preprocessing()`` is the network behind.

    ``model(X)`` is the network's output as it is written, ``predict`` its classes, or numbers in the target's unit, and
    ``predict_proba`` probabilities. They come back in the library, and on the device, of X; in NumPy for tables.

    Example:
        >>> import chainrule as cr
        >>> X, y, adam = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1], cr.Adam(0.1)
        >>> model = cr.fit(cr.mlp([1, 8, 2]), X, y, loss="softmax_cross_entropy", optimizer=adam, epochs=100)
        >>> model.predict([[0.5], [2.5]]).tolist(), model.evaluate(X, y)["accuracy"]
        ([0, 1], 1.0)
        >>> model.theta.shape, list(model.parameters), len(model.history)
        ((34,), ['W1', 'b1', 'W2', 'b2'], 100)
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
        vars(self).update(loss=find_loss(self.loss), backend=make_backend(self.backend))  # which may be names
        for name, size in (("theta", self.network.size), ("buffers", self.network.buffer_layout.size)):
            if tuple(vars(self)[name].shape) != (size,):
                raise DataError(f"{name} of {self.network!r} must have shape ({size},), got {vars(self)[name].shape}.")
        with self.backend.active():
            vars(self).update({name: owned(self.backend, array) for name, array in self._arrays().items()})
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

    def __hash__(self) -> int:
        return hash((self.network, self.loss))

    def __getstate__(self) -> dict[str, Any]:
        rest = {part.name: vars(self)[part.name] for part in fields(self)}
        return {**rest, **self._numbers(), "backend": self.backend.settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        backend = make_backend(**state["backend"])
        arrays = {name: backend.asarray(state[name]) for name in ("theta", "buffers")}
        vars(self).update({**state, **arrays, "backend": backend})
        self.__post_init__()

    if not TYPE_CHECKING:  # to a type checker a misspelt name is an error

        def __getattr__(self, name: str) -> NoReturn:
            raise missing_attribute(self, name, _INSTEAD)

    def __call__(self, X: Any) -> Any:
        """The network's output as it is written, ``(rows, n_out)``: z where it ends in Dense, a where in an activation.

        ``predict`` decides for classes, in their labels, or gives numbers in the target's unit; ``predict_proba`` gives
        probabilities, whether the network ends in softmax (sigmoid) or leaves it to the loss. Dropout and batch
        normalisation predict, as there.

        Example:
            >>> import numpy as np, chainrule as cr
            >>> X, y = np.asarray([[0.0], [1.0]]), [0, 1]
            >>> model = cr.fit(cr.mlp([1, 2]), X, y, loss="softmax_cross_entropy", epochs=5)  # ends in Dense
            >>> np.allclose(model(X), X @ model.parameters["W1"] + model.parameters["b1"])
            True
            >>> model = cr.fit(cr.mlp([1, 2], output="softmax"), X, y, loss="softmax_cross_entropy", epochs=5)
            >>> np.array_equal(model(X), model.predict_proba(X))
            True
        """
        left_to_loss = self.network.layers[-1] == find_link(self.loss).layer
        output = self.predict_with(Link.apply if left_to_loss else _as_is, X)
        return output if output.ndim == 2 else output[:, None]

    def predict(self, X: Any) -> Any:
        """Class indices ``(rows,)`` for a softmax loss, 0 or 1 for each output for a sigmoid, else numbers.

        Where the model knows its ``classes`` their labels come in place of the indices; where it has a
        ``preprocessing`` numbers are in the target's own unit. JAX and torch can differentiate and compile this as
        a function of X, where the model runs on the same library.

        Args:
            X: rows as it was trained on: ``(rows, features)``, of any library, or lists; a frame; with
                ``preprocessing`` a table; or rows that need not fit in memory, or batches, as ``fit`` takes them, whose
                predictions come one below the other.

        Returns:
            ``(rows,)``; or ``(rows, outputs)`` where targets had that shape.

        Raises:
            DataError: X is of another width, or has columns that the model was not trained on, or numbers that are NaN
                or infinite.
            DeviceMemoryError: a GPU has not enough memory for so many rows.

        Example:
            >>> import numpy as np, chainrule as cr
            >>> X, adam = np.asarray([[0.0], [1.0], [2.0], [3.0]]), cr.Adam(0.1)
            >>> model = cr.fit(cr.mlp([1, 1]), X, 2 * X[:, 0] + 1, loss="squared_error", optimizer=adam, epochs=500)
            >>> model.predict([[10.0], [20.0]]).round(1).tolist()
            [21.0, 41.0]
            >>> model.predict(batch for batch in np.split(X, 2)).round(1).tolist()
            [1.0, 3.0, 5.0, 7.0]
        """
        return self.schema.decode(self.predict_with(Link.decide, X))

    def predict_proba(self, X: Any) -> Any:
        """Probabilities: ``(rows, classes)`` for a softmax loss, one for each output for a sigmoid.

        Two ``classes`` that are known have a column each, also where the network has one output.

        Args:
            X: as ``predict`` takes it.

        Raises:
            ConfigurationError: a loss without probabilities. DataError, DeviceMemoryError: as ``predict``.

        Example:
            >>> import chainrule as cr
            >>> X, y, adam = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1], cr.Adam(0.1)
            >>> model = cr.fit(cr.mlp([1, 8, 2]), X, y, loss="softmax_cross_entropy", optimizer=adam, epochs=100)
            >>> p = model.predict_proba([[0.5], [2.5]])
            >>> p.shape, p.sum(axis=1).round(6).tolist(), bool(p[1, 1] > 0.9)
            ((2, 2), [1.0, 1.0], True)
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

        ``loss`` is the one that was trained on, without a penalty, so with ``preprocessing`` that of the standardised
        target; metrics are in the target's own unit.

        Args:
            X: as ``predict`` takes it, but for batches.
            y: the targets, as ``fit`` takes them.
            sample_weight: ``(rows,)``, >= 0: a row of weight 2 counts as two; default 1 for each.
            metrics: names (``"accuracy"`` for classes; ``"mse"``, ``"rmse"``, ``"mae"``, ``"r2"`` for numbers), or
                functions of y and the predictions, which get NumPy arrays, in labels or in the target's unit; NaN where
                the predictions are not finite. Default accuracy for classes, r2 for numbers.

        Returns:
            A number by name.

        Raises:
            DataError: X, y or the weights do not fit the model. ConfigurationError: a metric that is not known, or not
                for this loss.

        Example:
            >>> import numpy as np, chainrule as cr
            >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
            >>> net, adam = cr.mlp([1, 16, 1]), cr.Adam(0.01)
            >>> model = cr.fit(net, X, X[:, 0] ** 2, loss="squared_error", optimizer=adam, epochs=200)
            >>> def largest(y, predictions):
            ...     return abs(y - predictions).max()
            >>> measured = model.evaluate(X, X[:, 0] ** 2, metrics=["r2", largest])
            >>> list(measured), measured["r2"] > 0.9, measured["largest"] < 0.2
            (['loss', 'r2', 'largest'], True, True)
        """
        return self._predictor.evaluate(X, y, sample_weight, find_metrics(metrics, self.loss))

    def without_preprocessing(self) -> Model:
        """The network behind: it takes arrays of the numbers that the network is given, and predicts in its own.

        Classes are then numbers from 0, and a standardised target stays standardised.
        """
        return replace(self, preprocessing=None, classes=(), feature_names=())

    @property
    def parameters(self) -> NamedArrays:
        """W and b of each layer by name, W1, b1, W2, b2, ...: read-only, or copies, as ``theta``, of which they are
        the pieces. Layers are counted as in ``cr.trace``; those of a normalisation are gamma1 and beta1.

        Example:
            >>> import dataclasses, numpy as np, chainrule as cr
            >>> model = cr.fit(cr.mlp([2, 2, 1]), [[0.0, 1.0], [1.0, 0.0]], [0.0, 1.0], loss="squared_error", epochs=1)
            >>> model = dataclasses.replace(model, theta=np.arange(9.0))
            >>> print(model.parameters)
            W1  0  1
                2  3
            b1  4  5
            W2  6
                7
            b2  8
            >>> model.parameters["W2"].shape
            (2, 1)
        """
        with self.backend.active():
            return named_parameters(self.backend, self.network, self.theta)

    @property
    def running_statistics(self) -> NamedArrays:
        """mean1, variance1, ... of each batch normalisation by name, as ``parameters``; empty where there is none."""
        with self.backend.active():
            return named_buffers(self.backend, self.network, self.buffers)

    @cached_property
    def schema(self) -> Schema:
        """What it was trained on: how X and y become numbers, and predictions become labels and units."""
        return Schema(self.preprocessing, self.classes, self.feature_names)

    def summary(self, rows: int | None = None) -> str:
        """Layers, shapes and parameters as a table, see ``Sequential.summary``, and where the model runs.

        Args:
            rows: of a batch, >= 1; by default the shapes have a B in place of it.
        """
        return f"{self.network.summary(rows)}\nloss {type(self.loss).__name__} on {self.backend!r}"

    @names_arguments
    def to(self, backend: str | Backend = "auto", *, dtype: Any = None) -> Model:
        """The same model on another backend, device or dtype.

        Args:
            backend: ``"torch"``, ``"torch:cuda"``, ``"cupy:1"`` or a backend of ``cr.backend``; ``"auto"``
                (the default) stays where the model is.
            dtype: ``"float32"`` or ``"float64"``; default the model's, or that of a backend of ``cr.backend``.

        Raises:
            BackendError: the library or the device cannot run here.
            ConfigurationError, DataError: numbers that the dtype cannot hold.

        Example:
            >>> import chainrule as cr
            >>> model = cr.fit(cr.mlp([1, 1]), [[0.0], [1.0]], [1.0, 3.0], loss="squared_error", epochs=1)
            >>> model.to(dtype="float64").backend
            Backend(numpy, device=cpu, dtype=float64, compiled)
        """
        kept = dtype_name(self.backend.dtype) if dtype is None and isinstance(backend, str) else dtype
        found_backend = moved(self.backend, backend, dtype=kept)
        numbers = self._numbers()
        check_in_range(self.network, numbers, dtype_name(found_backend.dtype))
        with found_backend.active():
            theta, buffers = (found_backend.asarray(numbers[part]) for part in ("theta", "buffers"))
        return replace(self, theta=theta, buffers=buffers, backend=found_backend)

    def save(self, path: str | os.PathLike[str], *, lenient: bool = False) -> None:
        """Write one ``.safetensors`` file with everything in it, whole or not at all.

        It has no pickle in it: reading it runs no code. ``cr.load`` reads it, on any backend. A link stays, and what it
        points to is written; a file that is there keeps its mode, and its other hard links what they had.

        Args:
            path: of the file, ``"digits.safetensors"``.
            lenient: whether to write null for a part of your own, which has no name in a file, instead of refusing it;
                default no. Such a file keeps the numbers, and ``load`` refuses it.

        Raises:
            FileError: it cannot be written.
            ConfigurationError: the model has a part of your own: a layer, an activation, a loss.

        Example:
            >>> import tempfile, chainrule as cr
            >>> model = cr.fit(cr.mlp([1, 1]), [[0.0], [1.0]], [1.0, 3.0], loss="squared_error", epochs=1)
            >>> path = tempfile.mkdtemp() + "/line.safetensors"
            >>> model.save(path)
            >>> cr.load(path, dtype="float64").predict([[2.0]]).dtype
            dtype('float64')
        """
        ending = Path(path).suffix if isinstance(path, str | os.PathLike) else ""
        require(
            ending not in _OTHER_FORMATS, f"a model file is .safetensors, got {str(path)!r}: give it another ending."
        )
        serialization.write(path, self._numbers(), self.description(lenient=lenient))

    def description(self, *, lenient: bool = False) -> dict[str, Any]:
        """Everything but the arrays, in JSON, as a file has it.

        Args:
            lenient: as of ``save``; default no.

        Raises:
            ConfigurationError: the model has a part of your own.
        """
        described = {name: vars(self)[name] for name in (*_COMPARED, "history")}
        return write_fields(described, lenient=lenient)

    def _arrays(self) -> dict[str, Array]:
        return {name: vars(self)[name] for name in ("theta", "buffers")}

    def _numbers(self) -> dict[str, np.ndarray]:
        return {name: self.backend.to_numpy(array) for name, array in self._arrays().items()}

    def predict_with(self, finish: LinkFinish, X: Any) -> Any:
        """``finish(link, backend, z)`` of the last pre-activations z of X, in the library of X.

        ``predict`` and ``predict_proba`` are this with ``Link.decide`` and ``Link.apply`` of ``chainrule.links``.
        """
        return self._predictor.predict(finish, X)

    @cached_property
    def _predictor(self) -> Predictor:
        network = without_link(self.network, self.loss)
        return Predictor(
            network, **self._arrays(), loss=self.loss, backend=self.backend, schema=self.schema, flat=self.flat
        )


def _as_is(link: Link, backend: Backend, z: Array) -> Array:
    """The output of a network that ends in pre-activations, or in an activation that is not the loss's."""
    return z


for _name in ("theta", "buffers"):  # in the class's body dataclass would take them for defaults
    setattr(Model, _name, Own(_name))


@names_arguments
def load(path: str | os.PathLike[str], *, backend: str | Backend = "numpy", dtype: Any = None) -> Model:
    """The model in a file that ``save`` wrote, on any backend.

    Args:
        path: of the file, or of the folder of a run of ``chainrule train``, which has one.
        backend: ``"numpy"`` (the default), ``"torch"``, ``"torch:cuda"``, ``"cupy:1"`` or a backend of ``cr.backend``.
        dtype: ``"float32"`` or ``"float64"``; default the one it was saved in, or that of a backend of ``cr.backend``.

    Raises:
        FileError: the file cannot be read.
        ModelFileError: it is no model, was altered, or is newer.

    Example:
        >>> import tempfile, chainrule as cr
        >>> model = cr.fit(cr.mlp([1, 1]), [[0.0], [1.0]], [1.0, 3.0], loss="squared_error", epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/line.safetensors")
        ...     cr.load(f"{folder}/line.safetensors") == model
        True
    """
    if isinstance(path, str | os.PathLike) and (Path(path) / "model.safetensors").is_file():
        path = Path(path) / "model.safetensors"
    arrays, description = serialization.read(path)
    try:
        described = read_fields(arrays, description)
    except ModelFileError as error:
        raise serialization.refusal(path, error) from error
    saved = arrays["theta"].dtype.name if isinstance(backend, str) else None
    found_backend = make_backend(backend, dtype=saved if dtype is None else dtype)
    check_in_range(described["network"], arrays, dtype_name(found_backend.dtype))
    for array in arrays.values():
        array.flags.writeable = False  # nobody else has it: the model takes it as it is
    return Model(theta=arrays["theta"], buffers=arrays["buffers"], backend=found_backend, **described)
