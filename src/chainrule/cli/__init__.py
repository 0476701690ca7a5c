"""The command line: ``chainrule train | predict | summary | backends | bench``.

It needs ``pip install 'chainrule[cli]'``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .._errors import ChainruleError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for an error, 2 for wrong usage, 130 after Ctrl-C.

    An error is one sentence on standard error; with ``--debug`` its traceback comes too.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        from ._app import run
    except ModuleNotFoundError as error:
        print(f"error: the command line needs {error.name}: pip install 'chainrule[cli]'.", file=sys.stderr)
        return 1
    try:
        return run(words)
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        return 130
    except ChainruleError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
