"""``chainrule train``: read, split, standardise, train, look at the test part once, write everything down."""

from __future__ import annotations

import shutil
import tempfile
import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from threadpoolctl import threadpool_limits

from .._backend import Backend
from .._errors import ConfigurationError, FileError, InterruptedTraining, require
from .._kernels import backend as choose_backend
from ..layers import Dense
from ..metrics import confusion_matrix
from ..model import Model
from ..network import Sequential, mlp
from ..optimizers import OPTIMIZERS, ClipNorm, Optimizer, find_optimizer
from ..penalties import Penalty
from ..plots import plot_history
from ..tables import Preprocessing, Table, read_table, split
from ..training import Checkpoint, CSVLogger, EarlyStopping, ProgressBar, fit, has_unfinished
from ._options import check_folder, hidden_widths

# Multiplications in a product below which a second BLAS thread gains nothing; on a busy machine the threads would spend
# most of their time waiting for each other.
_THREADED = 4_000_000


@dataclass(frozen=True)
class Options:
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
    device: str | int | None
    dtype: str
    checkpoint: str
    resume: bool
    out: Path


@dataclass(frozen=True)
class Parts:
    """Rows to train on, to choose by, and to look at once."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def train_table(data: str, options: Options, console: Console, *, quiet: bool) -> int:
    """Train on ``data`` and write model.safetensors, history.csv and curves.png to ``options.out``."""
    check_folder(options.out)
    checkpoint = _checkpoint(options)
    on = choose_backend(options.backend, device=options.device, dtype=options.dtype)
    table = load_table(data, options)
    prepared, parts = _prepare(table, options)
    classify = prepared.kind == "classification"
    network = _network(prepared.n_features, len(prepared.classes) if classify else 1, options)
    optimizer = _optimizer(options)
    _say_what(console, table, prepared, parts, network, on)

    started = time.perf_counter()
    callbacks: list[object] = [EarlyStopping("val_loss", patience=options.patience)]
    callbacks.append(CSVLogger(options.out / "history.csv"))
    if not quiet:
        callbacks.append(ProgressBar(console))
    batch_size = min(options.batch_size, len(parts.train))
    interrupted: list[str] = []

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, InterruptedTraining):
            interrupted.append(str(message))  # said after the bar
        else:
            console.print(f"warning: {message}", markup=False)

    train, check = table.take(parts.train), table.take(parts.validation)
    with warnings.catch_warnings(), _blas_threads(network, batch_size):
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
            checkpoint=checkpoint,
            resume=options.resume,
            backend=on,
            preprocessing=prepared,
        )
    console.print(f"trained {len(model.history)} epochs in {time.perf_counter() - started:.1f} s")
    for message in interrupted:
        console.print(message)
    _report(console, model, table.take(parts.test))
    _write(console, model, options.out)
    return 130 if interrupted else 0


def _checkpoint(options: Options) -> Checkpoint:
    """Where the training's state is kept. What a finished training left there makes room; one that is not does not."""
    kept = Checkpoint(options.out / "checkpoints", every=options.checkpoint)
    if not options.resume:
        if has_unfinished(kept.folder):
            raise ConfigurationError(
                f"{options.out} has a training that was not finished: go on with --resume, or give another --out."
            )
        shutil.rmtree(kept.folder, ignore_errors=True)
    return kept


def load_table(data: str, options: Options) -> Table:
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


def _prepare(table: Table, options: Options) -> tuple[Preprocessing, Parts]:
    """What the training part teaches about the columns, and the three parts."""
    if table.target is None:
        raise ConfigurationError(f"say which column of {table.source} to predict: --target NAME.")
    whole = Preprocessing.learn(table, task=options.task, impute=options.impute, unseen=options.unseen)
    y, stratify = whole.targets(table), whole.kind == "classification"
    held, seed = options.test_fraction, options.seed
    require(0 < held < 1, f"--test-fraction must lie between 0 and 1, got {held}.")
    rest, test = split(len(y), y, fraction=held, seed=seed, stratify=stratify)
    train, check = split(len(rest), y[rest], fraction=held, seed=seed, stratify=stratify, part="validation")
    parts = Parts(rest[train], rest[check], test)
    prepared = Preprocessing.learn(table, parts.train, task=options.task, impute=options.impute, unseen=options.unseen)
    return prepared, parts


def _network(n_in: int, n_out: int, options: Options) -> Sequential:
    return mlp(
        [n_in, *hidden_widths(options.hidden), n_out],
        activation=options.activation,
        dropout=options.dropout,
        normalization=options.normalization,
    )


def _blas_threads(network: Sequential, batch_size: int) -> AbstractContextManager[object]:
    """One BLAS thread for NumPy where the products are small."""
    largest = max(batch_size * layer.n_in * layer.n_out for layer in network.layers if isinstance(layer, Dense))
    return threadpool_limits(1, user_api="blas") if largest < _THREADED else nullcontext()


def _optimizer(options: Options) -> Optimizer:
    if options.learning_rate is None:
        return find_optimizer(options.optimizer)
    find_optimizer(options.optimizer)
    made: Optimizer = OPTIMIZERS[options.optimizer](options.learning_rate)
    return made


def _say_what(
    console: Console, table: Table, prepared: Preprocessing, parts: Parts, network: Sequential, on: Backend
) -> None:
    rows = len(parts.train) + len(parts.validation) + len(parts.test)
    console.print(
        f"{table.source}: {rows:,} rows: {len(parts.train):,} to train on, {len(parts.validation):,} for validation, "
        f"{len(parts.test):,} for the test"
    )
    for line in prepared.describe():
        console.print(line, markup=False)
    console.print(f"{network!r}: {network.size:,} parameters, on {on!r}", markup=False)


def _report(console: Console, model: Model, test: Table) -> None:
    """The test part's numbers, and the classes mixed up most."""
    assert model.preprocessing is not None
    assert test.target is not None
    # A category that only held-out rows have is none of the known; it was said.
    prepared = replace(model.preprocessing, unseen="ignore")
    model = replace(model, preprocessing=prepared)
    if prepared.kind == "regression":
        numbers = model.evaluate(test, test.target, metrics=["r2", "rmse"])
        console.print(f"test r2 {numbers['r2']:.3f}, root mean squared error {numbers['rmse']:.4g}")
        return
    y, predicted = prepared.targets(test), model.schema.targets(model.predict(test))
    console.print(f"[bold]test accuracy {np.mean(predicted == y):.3f}[/bold]")
    classes = prepared.classes
    matrix = confusion_matrix(y, predicted, len(classes))
    np.fill_diagonal(matrix, 0)
    worst = [(int(n), *divmod(int(i), len(classes))) for i, n in enumerate(matrix.ravel()) if n]
    for n, true, answered in sorted(worst, reverse=True)[:3]:
        console.print(f"  {classes[true]} taken for {classes[answered]}: {n} of {int(np.sum(y == true))}")


def _write(console: Console, model: Model, out: Path) -> None:
    try:
        model.save(out / "model.safetensors")
    except FileError as error:
        elsewhere = Path(tempfile.mkdtemp(prefix="chainrule-")) / "model.safetensors"
        model.save(elsewhere)
        raise FileError(f"{error} The model was written to {elsewhere} instead: move it from there.") from error
    if len(model.history):
        plot_history(model.history).savefig(out / "curves.png", dpi=150)
    console.print("wrote " + ", ".join(str(out / name) for name in ("model.safetensors", "history.csv", "curves.png")))
