"""The commands and their options; what they do stands in the file of each command's name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from .. import equations, training
from .._backend import available_backends
from .._base.errors import ConfigurationError
from .._model import serialization  # noqa: F401  # fails here, not after training, where safetensors is missing
from ..model import load
from ..tables import read_table
from ._bench import BenchOptions, bench_networks
from ._blas import describe_blas
from ._options import backend_name
from ._outputs import refuse_inputs, refuse_to_replace
from ._predict import predict_table
from ._screen import Screen
from ._streams import printable
from ._train import TrainOptions, digits, train_table

# What a command is to do, once its options are read. Done outside of typer, which has its own mind about errors,
# Ctrl-C and broken pipes.
Command = Callable[[], int]

app = typer.Typer(
    help="The multilayer perceptron for any array: train, predict, look inside.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

BackendName = Annotated[
    str, typer.Option("--backend", help="auto, numpy, cupy, torch, jax, torch:cuda; see 'chainrule backends'.")
]
DeviceName = Annotated[str | None, typer.Option("--device", help="An index, or the library's own name: 0, cuda:1.")]


def _print_version(asked: bool) -> None:
    if asked:
        Screen().print(f"chainrule {version('chainrule')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """--debug stands anywhere; ``main`` reads it."""


@app.command(
    epilog="Examples:\n\n"
    "  chainrule train digits\n\n"
    "  chainrule train houses.csv --target price --impute median\n\n"
    "  chainrule train X.npy --target y.npy --hidden 256,256 --backend torch --out runs/a"
)
def train(
    data: Annotated[str, typer.Argument(help="'digits', or a .csv, .parquet, .npz or .npy file.")],
    target: Annotated[
        str | None, typer.Option(help="The column to predict; for .npy the file with the targets.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="classification or regression; default: inferred and said.")] = None,
    hidden: Annotated[str, typer.Option(help="Widths of the hidden layers, '' for none.")] = "256,128",
    activation: Annotated[str, typer.Option(help="Of the hidden layers: relu, tanh, gelu, ...")] = "relu",
    normalization: Annotated[str, typer.Option(help="Of the hidden layers: batch, layer or none.")] = "batch",
    dropout: Annotated[float, typer.Option(help="Share of hidden activations dropped while training.")] = 0.3,
    epochs: Annotated[int, typer.Option(help="At most so many times through the data.")] = 200,
    patience: Annotated[int, typer.Option(help="Stop after so many epochs without a better validation loss.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Rows a step.")] = 64,
    optimizer: Annotated[str, typer.Option(help="adam, adamw, sgd, momentum, rmsprop, adagrad, lion.")] = "adam",
    learning_rate: Annotated[float | None, typer.Option(help="Default: the optimizer's own.")] = None,
    l2: Annotated[float, typer.Option(help="Adds l2/2 times the sum of squared weights to the cost.")] = 0.0,
    clip_norm: Annotated[float | None, typer.Option(help="Largest norm of the gradient.")] = None,
    impute: Annotated[
        str | None, typer.Option(help="'median' fills in missing values; else they are an error.")
    ] = None,
    unseen: Annotated[str, typer.Option(help="Unseen categories when predicting: error or ignore.")] = "error",
    drop: Annotated[str, typer.Option(help="Columns to leave out, separated by commas.")] = "",
    categorical: Annotated[str, typer.Option(help="Columns of codes: text even where they look like numbers.")] = "",
    separator: Annotated[str | None, typer.Option(help="Of a CSV: comma, semicolon, tab, bar.")] = None,
    test_fraction: Annotated[float, typer.Option(help="Held out, and looked at once, at the end.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Of the split, the initial weights, the order and dropout.")] = 0,
    backend: BackendName = "auto",
    device: DeviceName = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    checkpoint: Annotated[
        str, typer.Option(help="How often the training's state is kept: '30 s', '5 min', '1 h'.")
    ] = "1 min",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training that was broken off there.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; default runs/NAME, or runs/NAME-2, ... if it is there.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --out when this one is finished.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> Command:
    """Train on a table, and write the model, its history and its curves.

    Ctrl-C, or SIGTERM, ends after the step in flight and keeps the model so far; a second one ends at once.
    """
    return partial(
        train_table,
        data,
        TrainOptions(
            target=target,
            task=task,
            hidden=hidden,
            activation=activation,
            normalization=None if normalization == "none" else normalization,
            dropout=dropout,
            epochs=epochs,
            patience=patience,
            batch_size=batch_size,
            optimizer=optimizer,
            learning_rate=learning_rate,
            l2=l2,
            clip_norm=clip_norm,
            impute=impute,
            unseen=unseen,
            drop=_names(drop),
            categorical=_names(categorical),
            separator=separator,
            test_fraction=test_fraction,
            seed=seed,
            backend=backend_name(backend, device),
            dtype=dtype,
            checkpoint=checkpoint,
            resume=resume,
            out=out,
            overwrite=overwrite,
        ),
        Screen(),
        quiet=quiet,
    )


@app.command(
    epilog="Examples:\n\n"
    "  chainrule predict runs/houses/model.safetensors new.csv --out prices.csv\n\n"
    "  chainrule predict runs/digits/model.safetensors digits --proba --out preds.csv"
)
def predict(
    model: Annotated[Path, typer.Argument(help="A file that 'chainrule train' wrote.")],
    data: Annotated[str, typer.Argument(help="A table with the same columns; the target may be missing.")],
    out: Annotated[
        Path | None,
        typer.Option(help="CSV file to write, UTF-8; default: standard output. A file that is there is refused."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file --out, whatever it holds; never an input.")
    ] = False,
    proba: Annotated[bool, typer.Option("--proba", help="Add a column of probability for each class.")] = False,
    unseen: Annotated[str | None, typer.Option(help="Unseen categories: error or ignore; else the model's.")] = None,
    drop: Annotated[str, typer.Option(help="Columns to pass over, separated by commas.")] = "",
    separator: Annotated[str | None, typer.Option(help="Of a CSV: comma, semicolon, tab, bar.")] = None,
    backend: BackendName = "numpy",
    device: DeviceName = None,
) -> Command:
    """Predict a table with a trained model; labels come back as they were."""

    def task() -> int:
        refuse_inputs([out] if out else [], [model, data])
        if out and not overwrite:
            refuse_to_replace(out)
        loaded = load(model, backend=backend_name(backend, device))
        if loaded.preprocessing is None:
            raise ConfigurationError(
                f"{model} was saved without preprocessing, so it takes arrays, not tables: use cr.load in Python."
            )
        codes = loaded.preprocessing.categorical
        read = partial(read_table, drop=_names(drop), categorical=codes, separator=separator)
        table = digits() if data == "digits" else read(data)
        return predict_table(loaded, table, out, Screen(), proba=proba, unseen=unseen, overwrite=overwrite)

    return task


@app.command(epilog="Example:\n\n  chainrule summary runs/digits/model.safetensors")
def summary(model: Annotated[Path, typer.Argument(help="A file that 'chainrule train' wrote.")]) -> Command:
    """Print a model's layers, shapes and parameters."""

    def task() -> int:
        loaded, screen = load(model), Screen()
        notes = [] if loaded.preprocessing is None else loaded.preprocessing.describe()
        for line in (*loaded.summary().split("\n"), *notes):
            screen.print(line)
        return 0

    return task


@app.command(epilog="Example:\n\n  chainrule backends")
def backends() -> Command:
    """List every backend: version, devices, or why it cannot run here; and what multiplies NumPy's matrices."""
    return _print_backends


def _print_backends() -> int:
    table = Table("backend", "version", "devices, or why it cannot run", box=None, pad_edge=False)
    for row in available_backends():
        devices: Any = row["devices"]
        table.add_row(str(row["name"]), str(row["version"]), str(row["problem"] or ", ".join(devices)))
    screen = Screen()
    screen.print(table, soft_wrap=False)
    for line in describe_blas():
        screen.print(line)
    return 0


@app.command(epilog="Example:\n\n  chainrule warm-up")
def warm_up() -> Command:
    """Compile Numba's loops once for all processes, before the first training, and say where they are kept."""

    def task() -> int:
        Screen().print(training.warm_up())
        return 0

    return task


@app.command(epilog="Examples:\n\n  chainrule where Adam\n\n  chainrule where relu\n\n  chainrule where affine")
def where(
    name: Annotated[str, typer.Argument(help="A class (Adam, Dense), a function (affine), or a name (relu).")],
) -> Command:
    """Say where an equation stands in the source, and which faster bodies run in its place."""

    def task() -> int:
        screen = Screen()
        for line in str(equations.where(name)).split("\n"):
            screen.print(line)
        return 0

    return task


@app.command(
    epilog="Examples:\n\n"
    "  chainrule bench --hidden 512,512 --batch-size 128\n\n"
    "  chainrule bench --hidden 64 --features 20 --classes 2 --backends numpy,torch --out runs/small"
)
def bench(
    hidden: Annotated[str, typer.Option(help="Widths of your network's hidden layers, '' for none.")] = "512,512",
    features: Annotated[int, typer.Option(help="Numbers in an example.")] = 784,
    classes: Annotated[int, typer.Option(help="Outputs, 2 or more.")] = 10,
    rows: Annotated[int, typer.Option(help="Examples an epoch; fewer make large networks quicker to time.")] = 10_000,
    batch_size: Annotated[int, typer.Option(help="Rows a step.")] = 128,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    backends: Annotated[
        str, typer.Option(help="Names separated by commas, like numpy,torch:cuda:0; default: all that run here.")
    ] = "",
    sizes: Annotated[int, typer.Option(help="Networks to time: yours times 1/8 to 4 in width.")] = 6,
    seconds: Annotated[float, typer.Option(help="To time each network and backend for; two epochs at least.")] = 2.0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; default runs/bench, or runs/bench-2, ...")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the results in --out.")] = False,
) -> Command:
    """Say which backend trains a network like yours fastest here, and from what size on."""
    options = BenchOptions(
        hidden=hidden,
        features=features,
        classes=classes,
        rows=rows,
        batch_size=batch_size,
        dtype=dtype,
        backends=_names(backends),
        sizes=sizes,
        seconds=seconds,
        out=out,
        overwrite=overwrite,
    )
    return partial(bench_networks, options, Screen())


def run(words: list[str]) -> int:
    """Run the command in ``words``; the exit code."""
    try:
        task = app(args=words, standalone_mode=False)
    except typer.Exit as end:
        return int(end.exit_code)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return _wrong_usage(error)
    return int(task()) if callable(task) else int(task or 0)


def _wrong_usage(error: Any) -> int:
    """Say what typer did not understand; where it was given nothing, it has shown its help."""
    if message := error.format_message().strip():
        context = getattr(error, "ctx", None)
        usage = [f"{context.get_usage()}\nTry '{context.command_path} -h'."] if context else []
        print(*usage, f"error: {printable(message)}", sep="\n", file=sys.stderr)
    return int(error.exit_code)


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(",") if name.strip())
