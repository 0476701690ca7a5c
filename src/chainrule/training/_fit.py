"""``fit``: from a network and data to a trained model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from .._backend import Backend
from .._base.arguments import names_arguments
from .._base.errors import ConfigurationError, unknown_name, warn
from .._base.options import check_instance, flag, whole_number
from .._base.typing import Array
from .._data.checks import prepare
from .._data.streams import Batches, read_rows
from .._kernels import backend as make_backend
from .._kernels import for_training, moved, training_pays, with_whole_steps
from .._model.evaluation import evaluate
from .._model.prediction import ForwardPass
from .._model.schema import Schema, training_schema
from ..batch import Batch
from ..history import History
from ..losses import LossFunction, find_loss
from ..metrics import HostMetric, find_metrics
from ..model import Model
from ..network import Sequential, without_link
from ..optimizers import Clip, Optimizer, find_optimizer, planned
from ..penalties import Penalty
from ..tables import Preprocessing
from ._callbacks import check_callbacks
from ._checkpoint import Checkpoint, as_checkpoint, identity_of
from ._checkpoint_keeper import Keeper
from ._examples import DEFAULT_BATCH, in_batches, parts_of, whole
from ._held_out import Rows, hold_out, share_of_rows
from ._loop import OnDivergence, Plan, train
from ._progress import progress
from ._run import Run
from ._staging import OnDevice
from ._step import Problem, State, fresh_state, initial_state

_VALIDATION = "the validation X"


@names_arguments
def fit(
    network: Sequential | Model,
    X: Any,
    y: Any = None,
    *,
    loss: str | LossFunction | None = None,
    optimizer: str | Optimizer = "adam",
    epochs: int = 20,
    batch_size: int | None = None,
    shuffle: bool = True,
    seed: int = 0,
    validation: float | Sequence[Any] | None = None,
    sample_weight: Any = None,
    metrics: Sequence[str | HostMetric] | None = None,
    penalty: Penalty | None = None,
    clip: Clip | None = None,
    callbacks: Iterable[object] = (),
    verbose: bool | str | None = None,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    on_divergence: OnDivergence = "raise",
    backend: str | Backend = "auto",
    preprocessing: Preprocessing | None = None,
) -> Model:
    """Train a network on arrays, and return a model; nothing that is passed in is changed.

    The model remembers the names of X's columns, where it has some (a frame, an Arrow table, Parquet): it,
    ``validation`` and further training take no frame with other columns, or with these in another order.

    Args:
        network: what to train; a Model is trained further, from its own weights, for its own loss, on what it was
            trained on: its columns, its labels, the unit of its target.
        X: examples, ``(rows, features)``, an array of any library, a frame (pandas, polars, Arrow, a dict of columns)
            of numbers and truth values, or lists; or rows that need not fit in memory: the path of a .npy file, of a
            .parquet file or a folder of them (see ``cr.Parquet``), a memory map, anything with a shape and slices
            (HDF5, Zarr), read a window at a time and shuffled within windows that are drawn from all over
            it; or, without y, an iterable of batches ``(X, y)`` or ``(X, y, sample_weight)``, or a function that makes
            one: a step each, in the order in which they come, gone through once an epoch.
        y: class indices ``(rows,)`` for softmax_cross_entropy, else numbers ``(rows,)`` or ``(rows, outputs)``; default
            None, for batches.
        loss: by name or object; required for a network, default that of a Model.
        optimizer: by name or object, default ``"adam"``; a schedule without a length gets the length of this training.
        epochs: how often to go through the data, >= 1; default 20.
        batch_size: rows a step, >= 1; default 128; the last, shorter batch of an epoch counts like any other.
        shuffle: whether each epoch has a new order, the same on every backend; default yes.
        seed: of initial weights, orders and dropout, an integer >= 0; default 0.
        validation: default none; measured after each epoch, as ``val_loss`` and more in the history: ``(X, y)`` or
            ``(X, y, sample_weight)`` of your own, or a share of the rows, which is then not trained on: ``0.2`` holds
            out a fifth of X, y and the weights, of every class alike, drawn by the seed, the same on every backend:
            the rows ``tables.split(len(X), y, fraction=0.2, seed=seed, stratify=True, part="validation")[1]``, without
            ``stratify`` where y is numbers. Rows that are not in memory, and batches, need a set of your own.
        sample_weight: ``(rows,)``, >= 0: a row of weight 2 counts as two; default 1 for each. In float32 they sum to
            1e-19 to 2e19.
        metrics: measured on the validation set: names (``"accuracy"``, ``"mse"``, ``"rmse"``, ``"mae"``, ``"r2"``), or
            functions of ``(y, predictions)``; default accuracy for classes, r2 for numbers.
        penalty: ``cr.Penalty(l2=1e-4)``, added to the cost; default none.
        clip: ``cr.ClipNorm(1.0)`` or ``cr.ClipValue(0.5)``, applied to the gradient; default none.
        callbacks: a list: ``cr.EarlyStopping``, ``cr.ReduceOnPlateau``, ``cr.CSVLogger``, ``cr.Watch``, or one of your
            own, see ``cr.Callback``; default none.
        verbose: None (the default), a bar in a terminal or notebook once the training has lasted a second; True, the
            bar where one can be, else lines; ``"bar"``, or ``"lines"`` (one an epoch, at most one a second); False,
            nothing. See ``cr.ProgressBar``.
        checkpoint: a folder that keeps the whole state of the training after every epoch, or
            ``cr.Checkpoint(folder, resume=True)``, which goes on from there; default none.
        on_divergence: of a training that turns NaN or infinite: ``"raise"`` (the default); ``"stop"`` returns the last
            good weights with a warning; ``"recover"`` starts the epoch again at half the rate, from the weights with
            the lowest loss so far, and where they fail too from the first ones, with a warning each time, ten times at
            most.
        backend: where and how it runs: a library's name, with a device if need be, ``"torch"``, ``"torch:cuda"``,
            ``"cupy:1"``; ``"auto"`` (the default), the library and device of X in float32, or those of a model that is
            trained further, which keeps all that was said for it; or ``cr.backend(...)``, which has the dtype,
            compiling and more: ``cr.backend(like=X, dtype="float64")`` is where X is, in float64.
        preprocessing: ``chainrule.tables.Preprocessing``: X and the validation X are then tables, y labels or numbers
            in their own unit, and so is what the model takes and predicts. Default none.

    Raises:
        DataError, DTypeError, ConfigurationError, BackendError: before anything is trained.
        FileError: the folder of the checkpoints cannot be written to, or another process trains in it.
        DivergenceError: training turned NaN or infinite; its ``model`` has the last good weights.

    Any other error in mid-training, a callback's or of rows that cannot be read, passes as it is, and has the weights
    so far as its ``model`` too.

    Ctrl-C ends the training after the step in flight, or the wait for rows that are read: the model so far is returned
    and a warning says so. A second Ctrl-C ends at once, with a KeyboardInterrupt that has the model.

    On NumPy the BLAS has one thread meanwhile, in the whole process, where no product of a batch takes more than
    2,097,152 multiplications: see "On a busy machine" in docs/performance.md.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> X = np.asarray([[0.0, 0], [0, 1], [1, 0], [1, 1]])
        >>> net = cr.mlp([2, 8, 2], activation="tanh")
        >>> model = cr.fit(net, X, [0, 1, 1, 0], loss="softmax_cross_entropy", optimizer=cr.Adam(0.05), epochs=200)
        >>> model.predict(X).tolist()
        [0, 1, 1, 0]
    """
    before = network if isinstance(network, Model) else None
    net, found_loss = _network_and_loss(network, loss)
    epochs, seed = whole_number("epochs", epochs, least=1), whole_number("seed", seed, least=0)
    listeners, found_checkpoint = check_callbacks(callbacks), as_checkpoint(checkpoint)
    watching = progress(verbose, listeners)
    _check_options(penalty, clip, on_divergence, shuffle)

    batches = _open_batches(X, sample_weight, batch_size) if y is None else None
    like = X if batches is None else _inputs_of(batches.first)
    schema, rows = training_schema(None if before is None else before.schema, preprocessing, like, net.n_in)
    if batches is None:
        X, y, sample_weight = _encoded(schema, X if rows is None else rows, y, sample_weight)

    share = share_of_rows(validation, in_batches=batches is not None, in_memory=rows is None)
    found_backend = _make_backend(backend, like, before)
    problem = Problem(without_link(net, found_loss), found_loss, find_optimizer(optimizer), penalty, clip)
    found_backend = found_backend.compiling(problem.parts())

    def trained() -> Model:
        """Whatever lies on the device is of this frame, so that its memory is free when it ends."""
        held_out = None
        if batches is None:
            examples, order_of, in_memory = Rows(X, y, sample_weight), seed if shuffle else None, rows is None
            if share is not None:
                examples, held_out = hold_out(share, found_backend, examples, net, found_loss, seed)
            given = whole(found_backend, *examples, net, found_loss, batch_size, order_of, in_memory=in_memory)
        else:
            given = in_batches(found_backend, batches, net, found_loss, schema)
        feed, flat = given.feed, given.flat
        if validation is not None and held_out is None:
            held_out = _own_validation(validation, schema)
        validation_set = None
        if held_out is not None:
            sizes = {"n_in": net.n_in, "n_out": net.n_out}
            validation_set = prepare(
                found_backend, *held_out, **sizes, loss=found_loss, what=_VALIDATION, training=False
            )
        found_metrics = find_metrics(metrics, found_loss)
        if metrics and validation_set is None:
            warn("metrics are measured on a validation set, and there is none: give validation=0.2, or a set.")

        history = History() if before is None else before.history
        steps = _most_steps(epochs, feed.steps, listeners)
        bodies = found_backend if batches is None else with_whole_steps(found_backend)
        run = Run(
            backend=for_training(bodies, pays=training_pays(problem.network, given.batch_size, steps)),
            problem=replace(problem, optimizer=_planned(problem.optimizer, epochs, feed.steps)),
            held=_start(found_backend, problem, before, seed),
            columns=("loss", *(f"val_{name}" for name in ("loss", *found_metrics) if validation_set is not None)),
            first_epoch=len(history) + 1,
            epochs=epochs,
            steps_per_epoch=feed.steps,
            build=lambda run: Model(
                net, run.state.theta, run.state.buffers, found_loss, run.backend, flat, run.history, **vars(schema)
            ),
            history=history,
        )

        def plan() -> Plan:
            """Made last: a run that is gone on with has the bodies that it began with."""
            feed.compile(run.backend, run.problem)
            measure = _measure(run.backend, problem, validation_set, found_metrics, schema)
            return Plan(feed, given.order, measure, on_divergence)

        with closing(feed), found_backend.training(net.multiplications(given.batch_size)):
            if found_checkpoint is None:
                train(run, plan(), [*listeners, *watching])
            else:
                identity = identity_of(run, net, given, validation_set, found_metrics, seed, shuffle, before)
                with Keeper(found_checkpoint, run, listeners, identity) as keeper:
                    train(run, plan(), [*listeners, *watching, keeper], keeper.on_break)
        return run.model()

    with (
        found_backend.repeatable(),
        OnDevice(found_backend, problem.network, X, batch_size or DEFAULT_BATCH),
    ):
        return trained()


def _check_options(penalty: Any, clip: Any, on_divergence: Any, shuffle: Any) -> None:
    flag("shuffle", shuffle)
    if penalty is not None:
        check_instance(penalty, Penalty, expected="a penalty", write="penalty=cr.Penalty(l2=1e-4)")
    if clip is not None:
        check_instance(clip, Clip, expected="a clip", write="clip=cr.ClipNorm(1.0)")
    if on_divergence not in ("raise", "stop", "recover"):
        raise unknown_name("on_divergence", on_divergence, ["raise", "stop", "recover"])


def _open_batches(X: Any, sample_weight: Any, batch_size: Any) -> Batches:
    for name, value in (("sample_weight", sample_weight), ("batch_size", batch_size)):
        if value is not None:
            raise ConfigurationError(
                f"without y, X is an iterable of batches, each with its own rows and weights, got {name} too: leave it "
                "out, or give y."
            )
    return Batches(X)


def _encoded(schema: Schema, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """X, y and the weights as the network takes them."""
    X = X if schema.preprocessing is None else schema.inputs(X)
    return X, schema.targets(y), schema.weights(sample_weight)


def _inputs_of(batch: Any) -> Any:
    return batch[0] if isinstance(batch, tuple | list) and batch else batch


def _most_steps(epochs: int, steps_per_epoch: int | None, callbacks: Sequence[object]) -> int | None:
    """How many steps are asked for, of which a callback may know better; None where nobody knows."""
    known = [callback.most_steps for callback in callbacks if hasattr(callback, "most_steps")]
    if steps_per_epoch is not None:
        known.append(epochs * steps_per_epoch)
    return min(known, default=None)


def _planned(optimizer: Optimizer, epochs: int, steps_per_epoch: int | None) -> Optimizer:
    """The optimizer with a schedule that has no length filled in."""
    if steps_per_epoch is not None:
        return planned(optimizer, epochs * steps_per_epoch)
    if planned(optimizer, 1) != optimizer:
        raise ConfigurationError(
            f"{optimizer.learning_rate!r} needs the training's length, and these batches have none: give the schedule "
            "its number of steps, or batches with a length."
        )
    return optimizer


def _measure(
    backend: Backend,
    problem: Problem,
    validation: Batch | None,
    metrics: dict[str, HostMetric | None],
    schema: Schema,
) -> Callable[[State], dict[str, Array]] | None:
    """What is measured on the validation set at an epoch's end, still on the device; None without one."""
    if validation is None:
        return None
    # Steady, or a training run that is resumed would measure its first epoch with other last bits than one in a go.
    forward = ForwardPass(backend, problem.network, steady=True)

    def measure(state: State) -> dict[str, Array]:
        values = evaluate(backend, forward.load(state.theta, state.buffers), problem.loss, validation, metrics, schema)
        return {f"val_{name}": value for name, value in values.items()}

    return measure


def _network_and_loss(network: Sequential | Model, loss: str | LossFunction | None) -> tuple[Sequential, LossFunction]:
    if isinstance(network, Model):
        if loss is not None and find_loss(loss) != network.loss:
            raise ConfigurationError(f"this model was trained for {network.loss!r}, got loss={loss!r}: leave loss out.")
        return network.network, network.loss
    if not isinstance(network, Sequential):
        raise ConfigurationError(f"fit trains a network (cr.mlp, cr.Sequential) or a Model, got {network!r}.")
    if loss is None:
        raise ConfigurationError(
            "fit needs loss=...: 'softmax_cross_entropy' for class indices, 'squared_error' for numbers."
        )
    return network, find_loss(loss)


def _make_backend(given: str | Backend, X: Any, before: Model | None) -> Backend:
    """The backend that is asked for; what is not said is as in the model before, else as X lies."""
    return make_backend(given, like=X) if before is None else moved(before.backend, given, like=X)


def _own_validation(validation: Any, schema: Schema) -> Rows:
    """The user's validation set as the network takes it."""
    X, y, weight = parts_of(validation, "validation", ConfigurationError)
    X = read_rows(schema.inputs(X, what=_VALIDATION, unseen="warn"), _VALIDATION)
    return Rows(X, schema.targets(y, "the validation y"), schema.weights(weight, "the validation weights"))


def _start(backend: Backend, problem: Problem, before: Model | None, seed: int) -> State:
    if before is None:
        return initial_state(backend, problem, seed=seed)
    moved = before if before.backend == backend else before.to(backend)
    theta, buffers = backend.copy(moved.theta), backend.copy(moved.buffers)
    return fresh_state(backend, problem, theta, buffers, seed, epochs_before=len(before.history))
