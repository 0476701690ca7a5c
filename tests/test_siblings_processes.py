"""What a user at a terminal, with processes, signals, files and sources of rows, may rely on."""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import os
import queue
import signal
import socket
import stat
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import chainrule as cr
from chainrule._kernels import with_providers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RNG = np.random.default_rng(0)
X = RNG.normal(size=(128, 4)).astype(np.float32)
Y = (X @ np.asarray([1.0, 2.0, -1.0, 0.5], np.float32)).astype(np.float32)
CLASSES = (Y > 0).astype(np.int64)
NET = cr.mlp([4, 8, 1])
SLICES = [slice(start, start + 16) for start in range(0, 128, 16)]
# With Numba's loops: batches of unknown number have them, and rows in memory only in a longer training.
WORDS = {"loss": "squared_error", "epochs": 2, "backend": with_providers(cr.backend("numpy"), fast=True)}


def trained(X: Any = X, y: Any = Y, **words: Any) -> cr.Model:
    return cr.fit(NET, X, y, **{"batch_size": 16, "shuffle": False, **WORDS, **words})


def theta(model: cr.Model) -> np.ndarray:
    return np.asarray(model.theta)


def same(model: cr.Model, other: cr.Model) -> bool:
    return np.array_equal(theta(model), theta(other))


@pytest.fixture(scope="module")
def plain() -> cr.Model:
    return trained()


# Sources of batches


def a_ring() -> Iterator[tuple[Any, Any]]:
    ring, targets = np.empty((3, 16, 4), np.float32), np.empty((3, 16), np.float32)
    for k, rows in enumerate(SLICES):
        ring[k % 3], targets[k % 3] = X[rows], Y[rows]
        yield ring[k % 3], targets[k % 3]


def lists() -> Iterator[tuple[Any, Any]]:
    kept = [[0.0] * 4 for _ in range(16)]
    for rows in SLICES:
        for row, values in zip(kept, X[rows], strict=True):
            row[:] = values.tolist()
        yield kept, Y[rows]


def one_container() -> Iterator[Any]:
    pair: list[Any] = [None, None]
    for rows in SLICES:
        pair[:] = X[rows].copy(), Y[rows].copy()
        yield pair


def read_only_views() -> Iterator[tuple[Any, Any]]:
    buffer = np.empty((16, 4), np.float32)
    view = buffer.view()
    view.flags.writeable = False
    for rows in SLICES:
        buffer[:] = X[rows]
        yield view, Y[rows]


class Wrapped:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.array


def wrapped() -> Iterator[tuple[Any, Any]]:
    buffer = np.empty((16, 4), np.float32)
    for rows in SLICES:
        buffer[:] = X[rows]
        yield Wrapped(buffer), Y[rows]


SOURCES = (a_ring, lists, one_container, read_only_views, wrapped)


@pytest.mark.parametrize("source", SOURCES)
def test_what_a_source_fills_anew_trains_what_its_rows_train(source: Callable[[], Any], plain: cr.Model) -> None:
    assert same(cr.fit(NET, source, **WORDS), plain)


@pytest.mark.parametrize("source", [a_ring, read_only_views])
def test_what_a_source_fills_anew_is_predicted_as_its_rows_are(source: Callable[[], Any], plain: cr.Model) -> None:
    assert np.array_equal(plain.predict(batch for batch, _ in source()), plain.predict(X))


def test_a_dict_of_columns_that_is_filled_anew_is_predicted_as_its_rows_are(plain: cr.Model) -> None:
    def batches() -> Iterator[dict[str, np.ndarray]]:
        columns = {name: np.empty(16, np.float32) for name in "abcd"}
        for rows in SLICES:
            for name, values in zip("abcd", X[rows].T, strict=True):
                columns[name][:] = values
            yield columns

    np.testing.assert_allclose(plain.predict(batches()), plain.predict(X), rtol=1e-5, atol=1e-6)


def test_slices_of_a_memory_map_are_batches(tmp_path: Path, plain: cr.Model) -> None:
    np.save(tmp_path / "x.npy", X)
    rows = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert same(cr.fit(NET, lambda: ((rows[part], Y[part]) for part in SLICES), **WORDS), plain)


def test_slices_of_a_memory_map_are_targets_and_are_predicted(tmp_path: Path, plain: cr.Model) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    rows, targets = (np.load(tmp_path / name, mmap_mode="r") for name in ("x.npy", "y.npy"))
    assert same(cr.fit(NET, lambda: ((X[part], targets[part]) for part in SLICES), **WORDS), plain)
    assert np.array_equal(plain.predict(rows[part] for part in SLICES), plain.predict(X))


def test_a_memory_map_is_its_own_file_whatever_has_its_name_by_now(tmp_path: Path, plain: cr.Model) -> None:
    np.save(tmp_path / "x.npy", X)
    rows = np.load(tmp_path / "x.npy", mmap_mode="r")
    (tmp_path / "x.npy").unlink()
    (tmp_path / "x.npy").touch()
    assert np.array_equal(plain.predict(rows), plain.predict(X))
    assert same(trained(rows), plain)


def test_a_source_for_one_thread_is_read_there_and_it_is_said(plain: cr.Model) -> None:
    class Bound:
        owner = threading.get_ident()

        def __iter__(self) -> Iterator[tuple[Any, Any]]:
            for part in SLICES:
                if threading.get_ident() != self.owner:
                    raise RuntimeError("not my thread")
                yield X[part], Y[part]

    with pytest.warns(UserWarning, match="not my thread"):
        model = cr.fit(NET, Bound(), **WORDS)
    assert same(model, plain)


def test_context_variables_reach_a_source_of_fit_and_of_predict(plain: cr.Model) -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
    seen: set[str] = set()

    def batches() -> Iterator[tuple[Any, Any]]:
        for part in SLICES:
            seen.add(tenant.get())
            yield X[part], Y[part]

    tenant.set("one")
    cr.fit(NET, batches, **WORDS)
    plain.predict(batch for batch, _ in batches())
    assert seen == {"one"}


@pytest.mark.parametrize("every", [1, 2])
def test_without_threads_all_is_right(
    every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: cr.Model
) -> None:
    started, calls = threading.Thread.start, [0]

    def start(thread: threading.Thread) -> None:
        calls[0] += 1
        if calls[0] % every == 0:
            raise RuntimeError("can't start new thread")
        started(thread)

    np.save(tmp_path / "x.npy", X)
    monkeypatch.setattr(threading.Thread, "start", start)
    assert same(cr.fit(NET, a_ring, **WORDS), plain)
    assert same(trained(tmp_path / "x.npy", checkpoint=cr.Checkpoint(tmp_path / "c", every="1 s")), plain)
    assert np.array_equal(plain.predict(tmp_path / "x.npy"), plain.predict(X))
    assert np.array_equal(plain.predict(batch for batch, _ in a_ring()), plain.predict(X))


def blocking(kind: str) -> Callable[[], Any]:
    if kind == "queue":
        return queue.Queue().get
    if kind == "pipe":
        return functools.partial(os.read, os.pipe()[0], 1)
    near, far = socket.socketpair()
    return lambda: (near.recv(1), far)


@pytest.mark.parametrize("kind", ["queue", "pipe", "socket"])
def test_the_first_ctrl_c_ends_the_wait_for_a_source(kind: str) -> None:
    waits = blocking(kind)

    def batches() -> Iterator[tuple[Any, Any]]:
        for number, part in enumerate(SLICES):
            if number == 2:
                timer.start()
                waits()
            yield X[part], Y[part]

    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    with pytest.warns(cr.InterruptedTraining, match="epoch 1, step 2"):
        model = cr.fit(NET, batches, **WORDS)
    assert np.isfinite(theta(model)).all()
    assert signal.getsignal(signal.SIGINT) is before


CUT = """
import os, numpy as np, chainrule as cr
X = np.zeros((4096, 4), "f4"); y = np.arange(4096) % 2
model = cr.fit(cr.mlp([4, 2]), X, y, loss="softmax_cross_entropy", epochs=1)
np.save("x.npy", X)
rows = np.load("x.npy", mmap_mode="r")
os.truncate("x.npy", 1000)
try:
    {call}
except cr.ChainruleError as error:
    print("said", error)
"""


@pytest.mark.parametrize(
    "call",
    [
        "model.evaluate(rows, y)",
        "cr.MLPClassifier(max_iter=1).fit(rows, y)",
        "model.predict(np.asarray(rows))",
    ],
)
def test_a_memory_map_whose_file_was_cut_off_is_an_error_and_no_signal(call: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CUT.format(call=call)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout[:4]) == (0, "said")


# Checkpoints


def scaled(factor: Any) -> cr.Activation:
    return cr.Activation(lambda xp, z: xp.tanh(z) * factor, lambda xp, z: (1 - xp.tanh(z) ** 2) * factor)


class Called:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, xp: Any, z: Any) -> Any:
        return xp.tanh(z) * self.factor

    def slope(self, xp: Any, z: Any) -> Any:
        return (1 - xp.tanh(z) ** 2) * self.factor


def called(factor: float) -> cr.Activation:
    one = Called(factor)
    return cr.Activation(one, one.slope)


def value(xp: Any, z: Any, factor: float = 1.0) -> Any:
    return xp.tanh(z) * factor


def slope(xp: Any, z: Any, factor: float = 1.0) -> Any:
    return (1 - xp.tanh(z) ** 2) * factor


def bound(factor: float) -> cr.Activation:
    return cr.Activation(functools.partial(value, factor=factor), functools.partial(slope, factor=factor))


def of_an_array(factor: float) -> cr.Activation:
    return scaled(np.asarray(factor, np.float32))


HELPERS = types.ModuleType("helpers")


def by_module(factor: float) -> cr.Activation:
    HELPERS.factor = factor  # type: ignore[attr-defined]
    return cr.Activation(lambda xp, z: value(xp, z, HELPERS.factor), lambda xp, z: slope(xp, z, HELPERS.factor))


@pytest.mark.parametrize("make", [scaled, called, bound, of_an_array, by_module])
def test_another_activation_of_ones_own_is_refused_and_the_same_is_taken(
    make: Callable[[float], cr.Activation], tmp_path: Path
) -> None:
    def fit(factor: float, epochs: int) -> cr.Model:
        net = cr.mlp([4, 4, 1], activation=make(factor))
        return cr.fit(net, X, Y, loss="squared_error", epochs=epochs, checkpoint=cr.Checkpoint(tmp_path, resume=True))

    fit(1.0, 1)
    assert len(fit(1.0, 2).history) == 2
    with pytest.raises(cr.ConfigurationError, match="network is not the same"):
        fit(3.0, 3)


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "folder":
        path.mkdir()
    elif how == "dangling":
        path.symlink_to("nowhere")
    elif how == "loop":
        path.symlink_to(path.name)
    else:
        trained(epochs=1).save(path)


@pytest.mark.parametrize("how", ["cut", "folder", "dangling", "loop", "another model"])
def test_a_damaged_newest_checkpoint_costs_nothing_and_stays(how: str, tmp_path: Path) -> None:
    checkpoint = cr.Checkpoint(tmp_path, keep=3, resume=True)
    trained(epochs=3, checkpoint=checkpoint)
    newest = tmp_path / "epoch-000003.safetensors"
    damage(newest, how)
    with pytest.warns(UserWarning, match="An older checkpoint is tried"):
        model = trained(epochs=5, checkpoint=checkpoint)
    assert same(model, trained(epochs=5))
    assert os.path.lexists(newest)
    assert same(trained(epochs=6, checkpoint=cr.Checkpoint(tmp_path, resume=True)), trained(epochs=6))


def test_hard_links_to_checkpoints_keep_what_they_had(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    trained(epochs=1, checkpoint=folder)
    kept = {name: folder / name for name in ("best.safetensors", "epoch-000001.safetensors")}
    for name, path in kept.items():
        os.link(path, tmp_path / name)
    before = {name: (tmp_path / name).read_bytes() for name in kept}
    trained(epochs=4, checkpoint=cr.Checkpoint(folder, resume=True))
    assert {name: (tmp_path / name).read_bytes() for name in kept} == before


def test_a_strangers_best_model_behind_a_link_is_left_alone(tmp_path: Path) -> None:
    folder, precious = tmp_path / "c", tmp_path / "precious.safetensors"
    folder.mkdir()
    trained(epochs=1, seed=7).save(precious)
    before = precious.read_bytes()
    (folder / "best.safetensors").symlink_to(precious)
    with pytest.raises(cr.FileError, match="not this training's"):
        trained(checkpoint=cr.Checkpoint(folder, resume=True))
    assert precious.read_bytes() == before


class Raises:
    def __init__(self, error: BaseException) -> None:
        self.error, self.epochs = error, 0

    def on_epoch_end(self, *_: Any) -> None:
        self.epochs += 1
        if self.epochs == 2:
            raise self.error


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    code: int = 1


ERRORS = (SystemExit(3), StopIteration(1), GeneratorExit(), ExceptionGroup("two", [ValueError(1)]), MemoryError())


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_any_kind_passes_with_the_model_and_the_training_goes_on(
    error: BaseException, tmp_path: Path
) -> None:
    with pytest.raises(type(error)) as raised:
        trained(epochs=4, checkpoint=tmp_path, callbacks=[Raises(error)])
    assert raised.value is error
    assert same(error.model, trained(epochs=2))  # type: ignore[attr-defined]
    assert same(trained(epochs=4, checkpoint=cr.Checkpoint(tmp_path, resume=True)), trained(epochs=4))


def test_an_error_that_cannot_be_written_to_passes_as_it_is() -> None:
    with pytest.raises(FrozenError):
        trained(epochs=4, callbacks=[Raises(FrozenError())])


def test_checkpoints_stay_where_training_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere:
        def on_epoch_end(self, *_: Any) -> None:
            os.chdir(tmp_path / "elsewhere")

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    trained(checkpoint="c", callbacks=[Elsewhere()])
    assert (tmp_path / "c" / "epoch-000002.safetensors").is_file()
    assert not list((tmp_path / "elsewhere").iterdir())


# Saving


def test_save_follows_a_chain_of_links_and_keeps_links_mode_and_names(tmp_path: Path, plain: cr.Model) -> None:
    first, second, real = tmp_path / "first", tmp_path / "second", tmp_path / "folder" / "real"
    real.parent.mkdir()
    second.symlink_to("folder/real")
    first.symlink_to("second")
    plain.save(first)
    real.chmod(0o600)
    trained(epochs=1).save(first)
    assert first.is_symlink()
    assert second.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert same(cr.load(real), trained(epochs=1))
    assert [path.name for path in real.parent.iterdir()] == ["real"]


@pytest.mark.parametrize("kind", ["a link to a device", "a socket", "a loop", "a folder"])
def test_save_and_load_refuse_what_is_no_file(kind: str, tmp_path: Path, plain: cr.Model) -> None:
    path = tmp_path / "m"
    if kind == "a link to a device":
        path.symlink_to("/dev/null")
    elif kind == "a socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(os.path.relpath(path))
        server.close()
    elif kind == "a loop":
        path.symlink_to("m")
    else:
        path.mkdir()
    before = path.lstat().st_mode
    for call in (plain.save, cr.load):
        with pytest.raises(cr.FileError):
            call(path)
    assert path.lstat().st_mode == before
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize("name", ["x" * 255, "\N{EURO SIGN}" * 85, "two\nlines", "b\udcff"])
def test_a_name_that_a_file_can_have_is_saved_and_loaded(name: str, tmp_path: Path, plain: cr.Model) -> None:
    plain.save(tmp_path / name)
    assert same(cr.load(tmp_path / name), plain)


@pytest.mark.xfail(strict=True, reason="NumPy's texts drop what ends in NUL, so that two labels become one")
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_labels_that_differ_by_a_nul_stay_two() -> None:
    labels = np.asarray([("k", "k\0")[number] for number in CLASSES], dtype=object)
    model = cr.MLPClassifier(hidden_layer_sizes=(), max_iter=300, learning_rate_init=0.05, random_state=0).fit(
        X, labels
    )
    assert set(model.predict(X)) == {"k", "k\0"}


# The command line


def chainrule(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    from chainrule import cli

    monkeypatch.setattr(sys, "argv", ["chainrule", *map(str, arguments)])
    try:
        code = cli.main()
    except SystemExit as exit_:
        code = exit_.code
    return int(code or 0)


OPTIONS = ("--target", "y", "--epochs", "1", "--hidden", "", "--quiet")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table and a run, in which one is."""
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame(X[:40, :2], columns=["a", "b"]).assign(y=["[/n]", "p\x1b[1m"] * 20)
    frame.to_csv("t.csv", index=False)
    assert chainrule(monkeypatch, "train", "t.csv", *OPTIONS, "--out", "run") == 0
    return tmp_path


def test_labels_of_markup_and_escapes_are_shown_harmlessly_and_predicted_exactly(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chainrule(monkeypatch, "summary", "run/model.safetensors") == 0
    said = capsys.readouterr().out
    assert "'[/n]', 'p\\x1b[1m'" in said
    assert "\x1b" not in said
    assert chainrule(monkeypatch, "predict", "run/model.safetensors", "t.csv", "--out", "o.csv") == 0
    assert set(pd.read_csv("o.csv")["y"]) <= {"[/n]", "p\x1b[1m"}


def test_an_output_that_is_an_input_by_a_hard_link_or_a_linked_folder_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.link("t.csv", "hard.csv")
    Path("same").symlink_to("run")
    before = Path("t.csv").read_bytes(), Path("run/model.safetensors").read_bytes()
    for out in ("hard.csv", "same/model.safetensors"):
        call = ("predict", "run/model.safetensors", "t.csv", "--out", out, "--overwrite")
        assert chainrule(monkeypatch, *call) == 1
    assert (Path("t.csv").read_bytes(), Path("run/model.safetensors").read_bytes()) == before


def test_an_output_behind_a_dangling_link_is_written_where_it_points(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("o.csv").symlink_to("later.csv")
    assert chainrule(monkeypatch, "predict", "run/model.safetensors", "t.csv", "--out", "o.csv") == 0
    assert Path("o.csv").is_symlink()
    assert len(pd.read_csv("later.csv")) == 40


def test_true_labels_are_not_taken_for_predictions_of_before(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = "y\n" + "[/n]\n" * 3
    Path("y.csv").write_text(truth)
    chainrule(monkeypatch, "predict", "run/model.safetensors", "t.csv", "--out", "y.csv")
    assert Path("y.csv").read_text() == truth


def test_overwrite_keeps_a_strangers_files_within_the_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = [
        Path("run") / name for name in ("notes.txt", "checkpoints/llama.pt", "unfinished/t.csv", "copy.safetensors")
    ]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    assert chainrule(monkeypatch, "train", "t.csv", *OPTIONS, "--out", "run", "--overwrite") == 0
    assert [path.read_text() for path in mine] == ["mine"] * 4


def test_a_folder_of_an_outputs_name_is_refused_before_training(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other/curves.png").mkdir(parents=True)
    assert chainrule(monkeypatch, "train", "t.csv", *OPTIONS, "--out", "other") == 1
    printed = capsys.readouterr()
    assert "other/curves.png" in printed.err
    assert "wrote " not in printed.out


def test_two_trainings_are_kept_apart_by_a_linked_name_too(run: Path) -> None:
    Path("same").symlink_to("c")

    class Second:
        refused = ""

        def on_epoch_end(self, *_: Any) -> None:
            with pytest.raises(cr.FileError, match=r"is training in .*same"):
                trained(checkpoint=cr.Checkpoint("same", resume=True))
            self.refused = "yes"

    second = Second()
    Path("c").mkdir()
    trained(checkpoint="c", callbacks=[second])
    assert second.refused
