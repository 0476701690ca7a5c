"""The folder of a run: which one, whose files are in it, and that nobody else trains there meanwhile.

A run writes model.safetensors, history.csv, curves.png and checkpoints. Where they stand already, the run that is to
replace them works in a folder of its own beside them, ``unfinished``, and its files take their places when it is
finished: until then all that was there before is whole, whatever becomes of the new run.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from .._base.errors import ConfigurationError, FileError, ModelFileError, require
from .._base.storage import write_whole
from ..training import FolderLock, has_unfinished
from ._options import check_folder
from ._outputs import refuse_inputs
from ._replaceable import holds_something, standing

_RESULTS = ("model.safetensors", "history.csv", "curves.png")
_CHECKPOINTS = ("epoch-*.safetensors", "best.safetensors")  # in checkpoints
_STAGE = "unfinished"
_LOCK = ".chainrule-lock"


@dataclass(frozen=True)
class Wanted:
    """What the command line says about the folder: ``named`` with --out, or None for runs/NAME; ``inputs`` are read."""

    named: Path | None
    name: str
    inputs: Sequence[str | None]
    resume: bool
    overwrite: bool

    def check(self) -> None:
        """Raise, before anything is read, where the named folder is sure to be refused. Nothing is touched."""
        require(not (self.resume and self.overwrite), "--resume goes on and --overwrite begins anew: give one of them.")
        out = self.out()
        if out is not None and out.is_dir():
            if (out / _LOCK).exists():
                with _locked(out):
                    pass
            _workplace(out, self)

    @property
    def first(self) -> Path:
        """The default folder, before it is numbered."""
        return Path("runs") / self.name

    def out(self) -> Path | None:
        """The folder that it must be; None for the first that is free."""
        if self.named is None and self.overwrite:
            return self.first
        return _latest(self.first) if self.named is None and self.resume else self.named


@dataclass(frozen=True)
class RunFolder:
    """``out`` is where the results belong, ``work`` where they lie until the run is finished: mostly the same."""

    out: Path
    work: Path

    @property
    def model(self) -> Path:
        """The trained network."""
        return self.work / "model.safetensors"

    @property
    def history(self) -> Path:
        """A line an epoch."""
        return self.work / "history.csv"

    @property
    def curves(self) -> Path:
        """The history, drawn."""
        return self.work / "curves.png"

    @property
    def checkpoints(self) -> Path:
        """The training's state."""
        return self.work / "checkpoints"

    def finish(self) -> RunFolder:
        """Have the results where they belong, in place of the run that stood there: all of them, or none."""
        if self.work != self.out:
            try:
                with _locked(self.out / "checkpoints", "lock"):
                    standing(path for work in (self.out, *_stages(self.out)) for path in _files(work))
                    _exchange(self.work, self.out)
            except FileError as error:
                left = (
                    f"The finished run is in {self.work}, {self.out} has the one of before, and --resume tries again."
                )
                raise FileError(f"{error} {left}") from error
        for stage in _stages(self.out):
            with suppress(OSError):  # what was replaced lies there, and harms nobody
                for path in standing(_files(stage)):
                    path.unlink()
                _remove_empty(stage)
        return RunFolder(self.out, self.out)


@contextmanager
def run_folder(wanted: Wanted, say: Callable[[str], object]) -> Iterator[RunFolder]:
    """The folder to train in, held against every other training until the end."""
    out, is_new = claimed(wanted.out(), wanted.first, say)
    if wanted.named is None and wanted.resume and not is_new:
        say(f"going on in {out}.")
    with _locked(out):
        work = out
        try:
            work = _workplace(out, wanted)
            if work != out and wanted.overwrite:
                say(f"{out} has a run, which is replaced when this one is finished; until then this one is in {work}.")
            yield RunFolder(out, work)
        finally:
            if work != out:
                _remove_empty(work)
            if is_new:
                _remove_empty(out)


def claimed(named: Path | None, first: Path, say: Callable[[str], object]) -> tuple[Path, bool]:
    """The named folder, or else the first of ``first``, first-2, ... that is not there; and whether it was made."""
    if named is not None:
        is_new = not named.exists()
        check_folder(named)
        return named, is_new
    for folder in _numbered(first):
        try:
            folder.mkdir(parents=True)  # of two processes, one makes it
        except FileExistsError:
            require(folder.exists(), f"cannot make the folder {folder}: give one with --out.")  # its parent is a file
            continue
        except OSError as error:
            raise FileError(f"cannot make the folder {folder} ({error.strerror}): give one with --out.") from error
        if folder != first:
            say(f"{first} is there already: this run goes to {folder}.")
        return folder, True
    raise AssertionError("numbers do not end")


def _latest(first: Path) -> Path | None:
    """The latest run of this name that was not finished, or else the latest that left checkpoints."""
    name = re.compile(re.escape(first.name) + r"(-\d+)?")
    beside = [path for path in first.parent.iterdir() if name.fullmatch(path.name)] if first.parent.is_dir() else []
    times = {folder: max(map(_trained, (folder, *_stages(folder)))) for folder in beside}
    return max((folder for folder in times if times[folder]), key=lambda f: (_is_unfinished(f), times[f]), default=None)


def _trained(work: Path) -> float:
    """When the newest checkpoint was written, 0 where there is none."""
    return max((path.stat().st_mtime for path in (work / "checkpoints").glob(_CHECKPOINTS[0])), default=0.0)


def _is_unfinished(out: Path) -> bool:
    if any(any((stage / "checkpoints").glob(_CHECKPOINTS[0])) for stage in _stages(out)):
        return True
    try:
        return has_unfinished(out / "checkpoints")
    except ModelFileError:  # to go on with it will say so
        return True


def _numbered(first: Path) -> Iterator[Path]:
    """``first``, first-2, first-3, ..."""
    yield first
    for number in count(2):
        yield first.with_name(f"{first.name}-{number}")


def _stages(out: Path) -> list[Path]:
    """Where runs are, or were, that are to replace the one in ``out``."""
    return [path for path in out.glob(f"{_STAGE}*") if re.fullmatch(rf"{_STAGE}(-\d+)?", path.name)]


def _workplace(out: Path, wanted: Wanted) -> Path:
    """Where to train, if that replaces nothing that is read, somebody else's, or to be kept. Nothing is touched."""
    works = [out, *_stages(out)]
    refuse_inputs([work / name for work in works for name in (*_RESULTS, "checkpoints")], wanted.inputs)
    there = standing(path for work in works for path in _files(work))
    if wanted.resume:
        return max(works, key=_trained)
    if not there:
        return out
    if wanted.overwrite:
        return next(stage for stage in _numbered(out / _STAGE) if not stage.exists())
    if _is_unfinished(out):
        raise ConfigurationError(
            f"{out} has a training run that was not finished: go on with --resume, begin anew with --overwrite, or "
            "give another --out."
        )
    what = "a finished run" if (out / "model.safetensors") in there else f"the {there[0].name} of a run"
    raise ConfigurationError(f"{out} has {what}: give another --out, or replace it with --overwrite.")


def _files(work: Path) -> list[Path]:
    """What stands in this folder under the names that a run writes, whatever it is."""
    checkpoints = work / "checkpoints"
    inside = (
        [path for pattern in _CHECKPOINTS for path in checkpoints.glob(pattern)]
        if checkpoints.is_dir()
        else [checkpoints]
    )
    return [path for path in (*(work / name for name in _RESULTS), *inside) if path.exists()]


def _exchange(work: Path, out: Path) -> None:
    """Move a run to where another stands, and that one into a folder beside it; where a move fails, none was made.

    The model comes last, so that there always is one. Links stay, and what they lead to is replaced.
    """
    aside = next(stage for stage in _numbered(out / _STAGE) if not stage.exists())
    old = [path.relative_to(out) for path in _files(out)]
    new = [path.relative_to(work) for path in _files(work)]
    model, real = Path(_RESULTS[0]), os.path.realpath
    moves = [(Path(real(out / name)), aside / name) for name in old if name != model]
    moves += [(work / name, Path(real(out / name))) for name in sorted(new, key=model.__eq__)]
    for done, (source, target) in enumerate(moves):
        try:
            _move(source, target)
        except OSError as error:
            for before, after in reversed(moves[:done]):
                _move(after, before)
            _remove_empty(aside)
            raise FileError(f"cannot move {source} to {target}: {error.strerror or error}.") from error


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:  # a link leads to another disk
            raise
        write_whole(target, source.read_bytes())
        source.unlink()


@contextmanager
def _locked(folder: Path, name: str = _LOCK) -> Iterator[None]:
    lock = FolderLock(folder, name)
    lock.hold()
    try:
        yield
    finally:
        lock.release()


def _remove_empty(work: Path) -> None:
    """Take away the folder of a run that wrote nothing."""
    checkpoints = work / "checkpoints"
    if any(holds_something(path) for path in _files(work)):
        return
    for path in (*_files(work), checkpoints / "lock", work / _LOCK):
        with suppress(OSError):
            path.unlink()
    for folder in (checkpoints, work):
        with suppress(OSError):
            folder.rmdir()
