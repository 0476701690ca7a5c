"""``chainrule train``: read, split, standardise, train, look at the test part once, write everything down."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._backend import Backend
from .._base.errors import ConfigurationError, DivergenceError, FileError, InterruptedTraining, require
from .._kernels import backend as make_backend
from ..metrics import confusion_matrix
from ..model import Model
from ..network import Sequential, mlp
from ..optimizers import OPTIMIZERS, ClipNorm, Optimizer, find_optimizer
from ..penalties import Penalty
from ..plots import plot_history
from ..tables import Preprocessing, Table, read_table, split
from ..training import Checkpoint, CSVLogger, EarlyStopping, ProgressBar, deferred_interrupt, fit
from ._folder import RunFolder, Wanted, run_folder
from ._options import hidden_widths
from ._outputs import write_figure
from ._replaceable import standing
from ._screen import Screen
from ._signals import sigterm_as_ctrl_c


@dataclass(frozen=True)
class TrainOptions:
    """The options of ``chainrule train``, as its help states them."""

    target: str | None
    task: Any
    hidden: str
    activation: str
    normalization: Any
    dropout: float
    epochs: int
    patience: int
    batch_size: int
    optimizer: str
    learning_rate: float | None
    l2: float
    clip_norm: float | None
    impute: Any
    unseen: Any
    drop: tuple[str, ...]
    categorical: tuple[str, ...]
    separator: str | None
    test_fraction: float
    seed: int
    backend: str
    dtype: str
    checkpoint: str
    resume: bool
    out: Path | None
    overwrite: bool


@dataclass(frozen=True)
class Parts:
    """Rows to train on, to choose by, and to look at once."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def train_table(data: str, options: TrainOptions, screen: Screen, *, quiet: bool) -> int:
    """Train on ``data`` and write model.safetensors, history.csv and curves.png; the exit code."""
    wanted = Wanted(options.out, Path(data).stem, (data, options.target), options.resume, options.overwrite)
    wanted.check()
    checkpoint = Checkpoint("", every=options.checkpoint)
    backend = make_backend(options.backend, dtype=options.dtype)
    table = load_table(data, options)
    prepared, parts = _prepare(table, options)
    classify = prepared.kind == "classification"
    network = _network(prepared.n_features, len(prepared.classes) if classify else 1, options)
    optimizer = _optimizer(options)

    with run_folder(wanted, screen.print) as folder, sigterm_as_ctrl_c() as ending:
        _say_what(screen, table, prepared, parts, network, backend)
        started = time.perf_counter()
        callbacks: list[object] = [ending, EarlyStopping("val_loss", patience=options.patience)]
        callbacks.append(CSVLogger(folder.history))
        if not quiet:
            callbacks.append(ProgressBar(screen))
        batch_size = min(options.batch_size, len(parts.train))
        interrupted: list[str] = []

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, InterruptedTraining):
                interrupted.append(str(message))  # said after the bar
            else:
                screen.print(f"warning: {message}")

        train, check = table.take(parts.train), table.take(parts.validation)
        with warnings.catch_warnings(), _saying_what_is_left(folder.checkpoints):
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show
            model = fit(
                network,
                train,
                train.target,
                loss="softmax_cross_entropy" if classify else "squared_error",
                optimizer=optimizer,
                epochs=options.epochs,
                batch_size=batch_size,
                seed=options.seed,
                validation=(check, check.target),
                penalty=Penalty(l2=options.l2) if options.l2 else None,
                clip=ClipNorm(options.clip_norm) if options.clip_norm is not None else None,
                callbacks=callbacks,
                verbose=False,
                checkpoint=replace(checkpoint, folder=folder.checkpoints, resume=options.resume),
                backend=backend,
                preprocessing=prepared,
            )
        # Nothing is printed before the model is safe, and Ctrl-C waits for that too.
        with deferred_interrupt() as late:
            _save(model, folder.model)
            undrawn = _draw(model, folder.curves)
            if not interrupted:
                folder = folder.finish()
        screen.print(f"trained {len(model.history)} epochs in {time.perf_counter() - started:.1f} s")
        for message in (*interrupted, *undrawn):
            screen.print(message)
        _report(screen, model, table.take(parts.test))
        _say_where(screen, folder, model, undrawn)
    return ending.code if interrupted or late.asked else 0


@contextmanager
def _saying_what_is_left(checkpoints: Path) -> Iterator[None]:
    """Add to what ends a training where the state that it reached is kept, in place of what Python could do with it."""
    try:
        yield
    except BaseException as error:
        error.__notes__ = []
        if isinstance(error, DivergenceError):
            error.args = (error.finding.replace("clip=cr.ClipNorm(1.0)", "--clip-norm 1"),)
        began = hasattr(error, "model") or not isinstance(error, ConfigurationError)
        if began and any(checkpoints.glob("epoch-*.safetensors")):
            error.add_note(f"The training up to its last checkpoint is in {checkpoints}: --resume goes on from there.")
        raise


def load_table(data: str, options: TrainOptions) -> Table:
    """The table named on the command line; ``digits`` is scikit-learn's bundled set of 1,797 handwritten digits."""
    if data == "digits":
        return digits()
    return read_table(
        data,
        target=options.target,
        drop=options.drop,
        categorical=options.categorical,
        separator=options.separator,
    )


def digits() -> Table:
    """The 1,797 handwritten digits of scikit-learn: 8 x 8 pixels of 0 to 16, ten classes."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    columns = {f"pixel{i}": X[:, i] for i in range(X.shape[1])}
    return Table(columns=columns, target=y, target_name="digit", source="digits")


def _prepare(table: Table, options: TrainOptions) -> tuple[Preprocessing, Parts]:
    """What the training part teaches about the columns, and the three parts."""
    if table.target is None:
        raise ConfigurationError(f"say which column of {table.source} to predict: --target NAME.")
    whole = Preprocessing.learn(table, task=options.task, impute=options.impute, unseen=options.unseen)
    y, stratify = whole.targets(table), whole.kind == "classification"
    fraction, seed = options.test_fraction, options.seed
    require(0 < fraction < 1, f"--test-fraction must lie between 0 and 1, got {fraction}.")
    rest, test = split(len(y), y, fraction=fraction, seed=seed, stratify=stratify)
    train, check = split(len(rest), y[rest], fraction=fraction, seed=seed, stratify=stratify, part="validation")
    parts = Parts(rest[train], rest[check], test)
    prepared = Preprocessing.learn(table, parts.train, task=options.task, impute=options.impute, unseen=options.unseen)
    return prepared, parts


def _network(n_in: int, n_out: int, options: TrainOptions) -> Sequential:
    return mlp(
        [n_in, *hidden_widths(options.hidden), n_out],
        activation=options.activation,
        dropout=options.dropout,
        normalization=options.normalization,
    )


def _optimizer(options: TrainOptions) -> Optimizer:
    if options.learning_rate is None:
        return find_optimizer(options.optimizer)
    find_optimizer(options.optimizer)
    made: Optimizer = OPTIMIZERS[options.optimizer](options.learning_rate)
    return made


def _say_what(
    screen: Screen, table: Table, prepared: Preprocessing, parts: Parts, network: Sequential, backend: Backend
) -> None:
    rows = len(parts.train) + len(parts.validation) + len(parts.test)
    screen.print(
        f"{table.source}: {rows:,} rows: {len(parts.train):,} to train on, {len(parts.validation):,} for validation, "
        f"{len(parts.test):,} for the test"
    )
    for line in prepared.describe():
        screen.print(line)
    screen.print(f"{network!r}: {network.size:,} parameters, on {backend!r}")


def _report(screen: Screen, model: Model, test: Table) -> None:
    """The test part's numbers, and the classes mixed up most."""
    assert model.preprocessing is not None
    assert test.target is not None
    # A category that only held-out rows have is none of the known; it was said.
    prepared = replace(model.preprocessing, unseen="ignore")
    model = replace(model, preprocessing=prepared)
    if prepared.kind == "regression":
        numbers = model.evaluate(test, test.target, metrics=["r2", "rmse"])
        screen.print(f"test r2 {numbers['r2']:.3f}, root mean squared error {numbers['rmse']:.4g}")
        return
    y, predicted = prepared.targets(test), model.schema.targets(model.predict(test))
    screen.print(f"test accuracy {np.mean(predicted == y):.3f}", style="bold")
    classes = prepared.classes
    matrix = confusion_matrix(y, predicted, len(classes))
    np.fill_diagonal(matrix, 0)
    worst = [(int(n), *divmod(int(i), len(classes))) for i, n in enumerate(matrix.ravel()) if n]
    for n, true, taken_for in sorted(worst, reverse=True)[:3]:
        screen.print(f"  {classes[true]} taken for {classes[taken_for]}: {n} of {int(np.sum(y == true))}")


def _save(model: Model, path: Path) -> None:
    try:
        standing([path])  # somebody may have put it there meanwhile
        model.save(path)
    except FileError as error:
        elsewhere = Path(tempfile.mkdtemp(prefix="chainrule-")) / path.name
        model.save(elsewhere)
        raise FileError(f"{error} The model was written to {elsewhere} instead: move it from there.") from error


def _draw(model: Model, path: Path) -> list[str]:
    """Write the curves; what is to be said where they cannot be written, for which no training may be lost."""
    if not len(model.history):
        return []
    try:
        standing([path])
        write_figure(path, plot_history(model.history))
    except Exception as error:  # Matplotlib's, too, of a backend or a font that it does not find
        return [f"warning: {path} could not be drawn: {str(error).rstrip('.')}. The model was saved."]
    return []


def _say_where(screen: Screen, folder: RunFolder, model: Model, undrawn: list[str]) -> None:
    written = [folder.model]
    if folder.history.is_file() and folder.history.read_bytes() == model.history.to_csv().encode():
        written.append(folder.history)  # whole: the disk may have been full
    if not undrawn and folder.curves.exists():
        written.append(folder.curves)
    screen.print("wrote " + ", ".join(map(str, written)))
    if folder.work != folder.out:
        screen.print(f"{folder.out} keeps the run that it has until this one is finished: go on with --resume.")
