"""Loading libraries that need each other, and say so nowhere, as a group that the rest of the process does not see.

On Linux a library's functions are looked for in what was loaded for all, then in what it was loaded with: itself, and
what it says that it needs. So an empty library is made that says it needs all of the group (elf(5)).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from tempfile import NamedTemporaryFile

_HEADER, _SEGMENT, _ENTRY = 64, 56, 16  # bytes
_NEEDED, _HASH, _STRINGS, _SYMBOLS, _SIZE, _EACH = 1, 4, 5, 6, 10, 11  # entries of the dynamic section
_LOADED, _DYNAMIC, _STACK = 1, 2, 0x6474E551  # segments
_READ_AND_WRITE = 6


def load_apart(paths: Sequence[str]) -> ctypes.CDLL:
    """The libraries at these paths, on x86-64, with all their functions found. Raises OSError where that cannot be."""
    with NamedTemporaryFile(suffix=".so") as file:
        file.write(_that_needs([os.fsencode(path) for path in paths]))
        file.flush()
        return ctypes.CDLL(file.name, mode=os.RTLD_NOW | os.RTLD_LOCAL)


def _that_needs(paths: Sequence[bytes]) -> bytes:
    """A library without a function, as a file."""
    names, needed = b"\0", []
    for path in paths:
        needed.append((_NEEDED, len(names)))
        names += path + b"\0"
    dynamic = _HEADER + 3 * _SEGMENT
    symbols = dynamic + _ENTRY * (len(needed) + 6)
    table = symbols + 24
    text = table + 16
    entries = [*needed, (_HASH, table), (_STRINGS, text), (_SYMBOLS, symbols), (_SIZE, len(names)), (_EACH, 24), (0, 0)]
    kinds = (_LOADED, 0, text + len(names), 4096), (_DYNAMIC, dynamic, symbols - dynamic, 8), (_STACK, 0, 0, 16)
    library, x86_64, version = 3, 62, 1
    return b"".join(
        (
            b"\x7fELF\2\1\1".ljust(16, b"\0"),
            struct.pack("<HHIQQQI", library, x86_64, version, 0, _HEADER, 0, 0),
            struct.pack("<HHHHHH", _HEADER, _SEGMENT, len(kinds), 0, 0, 0),
            *(struct.pack("<IIQQQQQQ", kind, _READ_AND_WRITE, at, at, at, n, n, unit) for kind, at, n, unit in kinds),
            *(struct.pack("<QQ", *entry) for entry in entries),
            bytes(24),  # the table of symbols, of which the first is none
            struct.pack("<4I", 1, 1, 0, 0),  # and how to find none in it
            names,
        )
    )
