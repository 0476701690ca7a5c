"""What the command line prints: data as it is, on any terminal; and no failure of printing costs a model."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.table import Table

import chainrule as cr
from chainrule.cli import main
from chainrule.cli._screen import Screen
from chainrule.cli._streams import Stream, printable

BENCH = "--seconds 0.01 --backends numpy --out out"
QUICK = ["--hidden", "4", "--epochs", "3", "--normalization", "none", "--dropout", "0", "--quiet"]

# What a terminal, or rich, would obey, and what it must be shown as.
DATA = {
    "brackets": ("x[/docs]", "x[/docs]"),
    "style": ("[bold]", "[bold]"),
    "link": ("[link=http://a.b]c[/link]", "[link=http://a.b]c[/link]"),
    "escaped": (r"\[red]", r"\[red]"),
    "emoji": (":smile:", ":smile:"),
    "colour": ("\x1b[31mRED", r"\x1b[31mRED"),
    "title": ("\x1b]0;pwned\x07", r"\x1b]0;pwned\x07"),
    "one byte": ("\x9b31mRED", r"\x9b31mRED"),
    "line": ("a\rb\nc\x0bd", r"a\rb\nc\x0bd"),
    "direction": ("abc\u202edef", "abc\\u202edef"),
    "words": ("café 東京 می\u200cخواهم", "café 東京 می\u200cخواهم"),
}
OBEYED = "\x1b\x07\x9b\r\x0b\u202e\x00"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_table(path: str, label: str = "yes", column: str = "a") -> None:
    """Two columns of noise and two labels, so that some are mixed up."""
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(60) < 0.5, label, f"not {label}")
    pd.DataFrame({column: rng.normal(size=60), "b": rng.normal(size=60), "y": labels}).to_parquet(path)


def train(*words: object) -> int:
    return main(["train", "--target", "y", *QUICK, *map(str, words)])


# ------------------------------------------------------------------------------------------------------------- data


@pytest.mark.parametrize(("raw", "shown"), DATA.values(), ids=DATA)
def test_a_label_and_a_column_are_shown_as_they_are_and_obeyed_by_nothing(
    raw: str, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("chainrule.cli._train.plot_history", lambda history: Drawing())
    write_table("t.parquet", raw, raw)
    assert train("t.parquet", "--out", "out") == 0
    report = capsys.readouterr().out
    assert f"  {shown} taken for not {shown}: " in report or f"  not {shown} taken for {shown}: " in report
    assert main(["summary", "out/model.safetensors"]) == 0
    report += capsys.readouterr().out
    write_table("other.parquet", raw, f"{raw}?")
    assert main(["predict", "out/model.safetensors", "other.parquet"]) == 1
    error = capsys.readouterr().err
    for text in (report.replace("\x1b[1m", "").replace("\x1b[0m", ""), error):  # the accuracy is bold
        assert not set(OBEYED) & set(text)
        assert shown in text or repr(raw)[1:-1] in text
    assert main(["predict", "out/model.safetensors", "t.parquet", "--proba", "--out", "p.csv"]) == 0
    answers = pd.read_csv("p.csv", keep_default_na=False, lineterminator="\n" if raw != DATA["line"][0] else None)
    assert {f"P({raw})", f"P(not {raw})"} < set(answers.columns), "a file has the label itself"
    assert set(answers["y"]) <= {raw, f"not {raw}"}


class Drawing:
    """A picture that takes no time."""

    def savefig(self, file: io.BytesIO, **settings: Any) -> None:
        file.write(b"\x89PNG tEXtSoftware\0" + settings["metadata"]["Software"].encode())


def test_a_strangers_model_is_summed_up_without_its_commands(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = cr.load(trained / "out/model.safetensors")
    assert model.preprocessing is not None
    notes = tuple(raw for raw, _ in DATA.values())
    replace(model, preprocessing=replace(model.preprocessing, notes=notes)).save("m.safetensors")
    assert main(["summary", "m.safetensors"]) == 0
    assert capsys.readouterr().out.endswith("".join(f"{shown}\n" for _, shown in DATA.values()))


@pytest.mark.parametrize("name", ["dir[/x]/t.parquet", "data [old].parquet", "[bold].parquet", "\x1b[31mt.parquet"])
def test_a_path_is_shown_as_it_is(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainrule.cli._train.plot_history", lambda history: Drawing())
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    write_table(name)
    assert train(name, "--out", f"runs/{Path(name).stem}[/run1]") == 0
    printed = capsys.readouterr().out
    shown = name.replace("\x1b", r"\x1b")
    assert printed.startswith(f"{shown}: 60 rows: ")
    assert f"wrote runs/{Path(shown).stem}[/run1]/model.safetensors, " in printed
    assert train(name) == train(name) == 0
    assert f"runs/{Path(shown).stem} is there already: this run goes to runs/{Path(shown).stem}-2." in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("word", ["[/b]", "\x1b[31mx"])
@pytest.mark.parametrize(
    "words",
    [
        ["{}"],
        ["train", "t.parquet", "--{}"],
        ["train", "{}"],
        ["train", "t.parquet", "--target", "{}"],
        ["train", "t.parquet", "--target", "y", "--drop", "{}"],
        ["train", "t.parquet", "--target", "y", "--activation", "{}"],
        ["train", "t.parquet", "--target", "y", "--backend", "{}"],
        ["train", "t.parquet", "--target", "y", "--epochs", "{}"],
        ["summary", "{}"],
        ["predict", "{}", "t.parquet"],
        ["bench", "--backends", "{}"],
    ],
)
def test_an_error_quotes_what_was_given(words: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_table("t.parquet")
    assert main([each.format(word) for each in words]) in (1, 2)
    error = capsys.readouterr().err
    assert not set(OBEYED) & set(error)
    assert word.replace("\x1b", r"\x1b") in error or "--epochs" in error
    assert "error: " in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"c": 1.0}, "--drop c"),
        ({"a": [None, *range(59)]}, "--impute median"),
        ({"city": ["Bonn", *["Ulm"] * 59]}, "--unseen ignore"),
    ],
)
def test_advice_on_a_table_is_an_option_of_the_command(
    change: dict[str, Any], advice: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainrule.cli._train.plot_history", lambda history: Drawing())
    write_table("t.parquet")
    frame = pd.read_parquet("t.parquet").assign(city=["Ulm", "Köln"] * 30)
    frame.to_parquet("t.parquet")
    frame.assign(**change).to_parquet("new.parquet")
    assert train("t.parquet", "--out", "out") == 0
    capsys.readouterr()
    assert main(["predict", "out/model.safetensors", "new.parquet"]) == 1
    error = capsys.readouterr().err
    assert advice in error
    assert "cr." not in error


def test_a_warning_of_a_command_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    import warnings

    monkeypatch.setattr("chainrule.cli._app.load", lambda path: warnings.warn("\x1b[31mlook", stacklevel=1) or 1 / 0)
    with warnings.catch_warnings(), suppress(ZeroDivisionError):
        warnings.simplefilter("always")
        main(["summary", "m.safetensors"])
    assert capsys.readouterr().err == "warning: \\x1b[31mlook\n"


def test_the_screen_knows_no_markup_in_lines_and_cells(capsys: pytest.CaptureFixture[str]) -> None:
    screen, table = Screen(), Table("[red]a[/red]", "\x1b[0m")
    table.add_row("[/b]", ":smile:")
    screen.print("[/b] :smile: \x1b[0m 1.5 'text'", style="bold")
    screen.print(table)
    printed = capsys.readouterr().out
    assert printed.startswith("[/b] :smile: \\x1b[0m 1.5 'text'\n")
    assert all(cell in printed for cell in ("[red]a[/red]", "\\x1b[0m", "[/b]", ":smile:"))


@pytest.mark.parametrize("character", [*map(chr, (*range(32), *range(127, 160), 0x2028, 0x2066, 0xD800, 0xFEFF))])
def test_no_control_is_printable(character: str) -> None:
    assert printable(f"a{character}b").isascii()
    assert printable(f"a{character}b").isprintable()


# -------------------------------------------------------------------------------------------------------- terminals


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of accents and Chinese, and a model of it."""
    folder = tmp_path_factory.mktemp("trained")
    write_table(str(folder / "t.parquet"), "café", "面积")
    assert train(folder / "t.parquet", "--out", folder / "out") == 0
    return folder


@pytest.fixture(params=["train", "predict", "predict --out", "summary", "backends", "bench", "help"])
def command(request: pytest.FixtureRequest, trained: Path) -> list[str]:
    table, model = str(trained / "t.parquet"), str(trained / "out/model.safetensors")
    return {
        "train": ["train", table, "--target", "y", *QUICK, "--out", "out"],
        "predict": ["predict", model, table, "--proba"],
        "predict --out": ["predict", model, table, "--proba", "--out", "p.csv"],
        "summary": ["summary", model],
        "backends": ["backends"],
        "bench": [*f"bench --hidden 4 --features 3 --classes 2 --rows 32 --batch-size 16 --sizes 1 {BENCH}".split()],
        "help": ["train", "--help"],
    }[request.param]


def results(command: list[str]) -> list[Path]:
    """The files that a command must have written, whatever became of its report."""
    name = {"train": "out/model.safetensors", "bench": "out/bench.json"}.get(command[0], "p.csv")
    return [Path(name)] if "--out" in command else []


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_a_terminal_of_few_characters_gets_others_instead(
    encoding: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(out, "isatty", lambda: True, raising=False) if command[0] == "predict" else None
    monkeypatch.setattr(sys, "stdout", out)
    assert main(command) == 0
    text = out.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert text
    if command[0] == "train" and "--help" not in command:
        assert text.count("??") >= 1, "the column"
        assert "caf" in text
    for path in results(command):
        assert path.stat().st_size > 0


def test_a_pipe_and_a_file_get_utf_8_whatever_the_locale(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["predict", str(trained / "out/model.safetensors"), str(trained / "t.parquet")]
    out = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert main(words) == 0
    answers = out.buffer.getvalue()  # type: ignore[attr-defined]
    assert "café" in answers.decode()
    locale = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    script = (
        f"import sys; from chainrule.cli import main; sys.exit(main({words!r} + ['--out', 'p.csv']) or main({words!r}))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | locale, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert Path("p.csv").read_bytes() == answers
    assert done.stdout == b"wrote 60 predictions to p.csv\n" + answers


def broken_pipe() -> io.TextIOWrapper:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def full_disk() -> io.TextIOWrapper:
    return Path("/dev/full").open("w")


def closed() -> io.TextIOWrapper:
    with Path("closed").open("w") as stream:
        return stream


@pytest.mark.parametrize(
    ("make", "code", "code_without_files"),
    [(broken_pipe, 0, 141), (full_disk, 1, 1), (closed, 0, 1), (lambda: None, 0, 1)],
    ids=["broken pipe", "full disk", "closed", "none"],
)
def test_standard_output_that_takes_nothing_costs_no_result(
    make: Callable[[], io.TextIOWrapper | None],
    code: int,
    code_without_files: int,
    command: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = make()
    monkeypatch.setattr(sys, "stdout", out)
    try:
        in_files = command[0] in ("train", "bench") or "--out" in command
        assert main(command) == (code if in_files else code_without_files)
    finally:
        if out is not None:
            out.close()  # nothing is left in it that could not be written
    error = capsys.readouterr().err
    said = "error: standard output cannot be written: "
    assert error.startswith(said) if (code if in_files else code_without_files) == 1 else not error
    assert error.count("\n") <= 1
    for path in results(command):
        assert path.stat().st_size > 0


def test_nothing_is_printed_before_the_model_is_safe(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class LostError(BaseException):
        """The terminal is gone, with the process."""

    def write(self: Stream, text: str) -> int:
        if Path("out/history.csv").exists() and len(Path("out/history.csv").read_text().splitlines()) == 4:
            raise LostError
        return len(text)

    monkeypatch.setattr(Stream, "write", write)
    with suppress(LostError):
        main(["train", str(trained / "t.parquet"), "--target", "y", *QUICK, "--out", "out"])
    assert len(cr.load("out/model.safetensors").history) == 3


def test_processes_end_as_those_of_unix_do(trained: Path) -> None:
    """What Python writes at its own end is not seen within a process."""
    model, table = trained / "out/model.safetensors", trained / "t.parquet"
    chainrule = f"{sys.executable} -m chainrule.cli"
    script = f"""
    ({chainrule} predict {model} {table}; echo predict $? >&3) | true &
    {chainrule} train {table} --target y {" ".join(QUICK)} --out out >&- 2>&-; echo train $? >&3
    wait
    """
    done = subprocess.run(["bash", "-c", f"{{ {script} }} 3>codes"], capture_output=True, text=True, timeout=100)
    assert done.stderr == ""
    assert sorted(Path("codes").read_text().splitlines()) == ["predict 141", "train 0"]
    assert len(cr.load("out/model.safetensors").history) == 3


# ---------------------------------------------------------------------------------------------------------- signals


def check_what_sigterm_left(printed: str) -> None:
    assert "interrupted in epoch" in printed
    assert "test accuracy" in printed
    epochs = len(cr.load("out/model.safetensors").history)
    (kept,) = Path("out/checkpoints").glob("epoch-*.safetensors")
    assert len(cr.load(kept).history) == epochs > 0


def test_sigterm_keeps_the_state_and_the_model(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(self: object, run: object, record: dict[str, float]) -> None:
        if record["epoch"] == 2:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(cr.CSVLogger, "on_epoch_end", press)
    assert main(["train", str(trained / "t.parquet"), "--target", "y", *QUICK, "--epochs", "9", "--out", "out"]) == 143
    check_what_sigterm_left(capsys.readouterr().out)


def test_sigterm_is_heard_in_a_scripts_background_where_ctrl_c_is_not(trained: Path) -> None:
    words = ["train", str(trained / "t.parquet"), "--target", "y", *QUICK, "--epochs", "1000000"]
    words += ["--patience", "1000000", "--out", "out"]
    process = subprocess.Popen(
        ["bash", "-c", 'trap "" INT; exec "$@"', "_", sys.executable, "-m", "chainrule.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    history = Path("out/history.csv")
    while process.poll() is None and not (history.exists() and history.stat().st_size):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    printed, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (143, "")
    check_what_sigterm_left(printed)


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [(signal.SIGTERM, signal.SIGINT, 143), (signal.SIGINT, signal.SIGTERM, 143), (signal.SIGINT, signal.SIGINT, 130)],
)
def test_a_second_ctrl_c_ends_at_once_and_says_where_the_checkpoint_is(
    first: signal.Signals,
    second: signal.Signals,
    code: int,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def press(self: object, run: object, record: dict[str, float]) -> None:
        if record["epoch"] == 2:
            signal.raise_signal(first)
            signal.raise_signal(second)

    monkeypatch.setattr(cr.CSVLogger, "on_epoch_end", press)
    words = ["train", str(trained / "t.parquet"), "--target", "y", *QUICK, "--out", "out", "--checkpoint", "0 s"]
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert main(words) == code
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert capsys.readouterr().err == (
        "interrupted.\nThe training up to its last checkpoint is in out/checkpoints: --resume goes on from there.\n"
    )


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_model_is_saved_waits_for_it(
    sent: signal.Signals, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = cr.Model.save

    def interrupted(self: cr.Model, path: Path, **settings: bool) -> None:
        if Path(path).name == "model.safetensors":
            signal.raise_signal(sent)
        save(self, path, **settings)

    monkeypatch.setattr(cr.Model, "save", interrupted)
    words = ["train", str(trained / "t.parquet"), "--target", "y", *QUICK, "--out", "out"]
    assert main(words) == 128 + sent
    assert len(cr.load("out/model.safetensors").history) == 3


def test_sigterm_before_the_training_ends_the_process_as_ever(trained: Path) -> None:
    script = (
        "import os, signal, chainrule.cli._train as t; from chainrule.cli import main\n"
        "t.load_table = lambda *a: (os.kill(os.getpid(), signal.SIGTERM), 1 / 0)\n"
        f"main(['train', {str(trained / 't.parquet')!r}, '--target', 'y', '--out', 'out'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGTERM
    assert not Path("out").exists()
