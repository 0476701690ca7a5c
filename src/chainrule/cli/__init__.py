"""The command line: ``chainrule train | predict | summary | backends | where | bench``.

It needs ``pip install 'chainrule[cli]'``.
"""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

from .._base.errors import ChainruleError
from ._streams import Stream, printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0; 1 for an error, also where standard output cannot be written; 2 for wrong usage; 130 after Ctrl-C, 143 after
    SIGTERM; 141 where whoever read the output left, unless the results are in files.

    An error is one sentence on standard error; with ``--debug`` its traceback comes too.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    output, error = Stream(sys.stdout), Stream(sys.stderr)
    with redirect_stdout(cast("TextIO", output)), redirect_stderr(cast("TextIO", error)), warnings.catch_warnings():
        warnings.showwarning = _show_warning
        code = _run([word for word in words if word != "--debug"], debug="--debug" in words)
        output.flush()
        if output.problem is not None and code == 0:
            code = _without_output(output.problem, words)
        error.flush()
    return code


def _run(words: list[str], debug: bool) -> int:
    try:
        return _command(words)
    except KeyboardInterrupt as error:
        _say("interrupted.", error)
        return error.args[0] if error.args else 130
    except (ChainruleError, OSError) as error:
        if debug:
            raise
        _say(f"error: {_sentence(error)}", error)
        return 1


def _sentence(error: Exception) -> str:
    """What an error says; the system's, of a folder that may not be looked into, has the path beside it."""
    path = getattr(error, "filename", None)
    return str(error) if path is None else f"{path}: {getattr(error, 'strerror', error)}."


def _command(words: list[str]) -> int:
    try:
        from ._app import run
    except ModuleNotFoundError as error:
        _say(f"error: the command line needs {error.name}: pip install 'chainrule[cli]'.")
        return 1
    return run(words)


def _say(line: str, error: BaseException | None = None) -> None:
    """A line on standard error, and the notes of the error."""
    for text in (line, *getattr(error, "__notes__", ())):
        print(printable(text), file=sys.stderr)


def _show_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    _say(f"warning: {message}")


def _without_output(problem: OSError, words: Sequence[str]) -> int:
    """The exit code where what was printed did not arrive: it matters less where the results are in files."""
    command = next((word for word in words if not word.startswith("-")), None)
    in_files = command in ("train", "bench") or any(word.startswith("--out") for word in words)
    if problem.errno == errno.EPIPE:
        return 0 if in_files else 141
    if problem.errno == errno.EBADF and in_files:
        return 0
    _say(f"error: standard output cannot be written: {problem.strerror}.")
    return 1
