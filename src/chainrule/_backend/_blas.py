"""The BLAS that NumPy multiplies with: what it is, and how many threads it has.

It is asked through NumPy's own extension module, which answers for what it is linked with. So it is this library and no
other of the process (SciPy brings one of its own), and neither a search nor a dependency is needed.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_OWN_THREADS = 1  # what OpenBLAS answers where its threads are neither absent nor OpenMP's


class Blas(NamedTuple):
    """A BLAS, and its threads where these are one number for the whole process; else both functions are None."""

    name: str
    version: str
    kernels: str = ""  # of which processor, where it has several kinds and says which
    threads: Callable[[], int] | None = None
    set_threads: Callable[[int], object] | None = None


@cache
def numpys_blas() -> Blas | None:
    """NumPy's BLAS, or None where it does not say what it is (Accelerate, BLIS, a reference BLAS)."""
    for path in _linked():
        library = ctypes.PyDLL(path)  # with the GIL held: a call is shorter than it takes to get it back
        if (found := _openblas(library) or _mkl(library)) is not None:
            return found
    return None


def _linked() -> Iterator[str]:
    yield from filter(None, [getattr(sys.modules.get("numpy._core._multiarray_umath"), "__file__", None)])
    # On Windows a module does not answer for what it is linked with.
    yield from map(str, Path(np.__file__).parent.parent.glob("numpy.libs/*openblas*.dll"))


def _openblas(library: ctypes.CDLL) -> Blas | None:
    for before, after in product(("", "scipy_"), ("", "64_", "_64")):

        def call(name: str, returns: Any = ctypes.c_int, *, named: str = f"{before}openblas_%s{after}") -> Any:
            return _function(library, named % name, returns)

        config = call("get_config", ctypes.c_char_p)
        if config is not None:
            version, kernels = config().decode().split()[1], call("get_corename", ctypes.c_char_p)().decode()
            # Those of OpenMP are a number of each thread of the process, and other libraries' too.
            own = call("get_parallel")() == _OWN_THREADS
            threads = (call("get_num_threads"), call("set_num_threads", None)) if own else (None, None)
            return Blas("openblas", version, kernels, *threads)
    return None


def _mkl(library: ctypes.CDLL) -> Blas | None:
    describe = _function(library, "MKL_Get_Version_String", None)
    if describe is None:
        return None
    text = ctypes.create_string_buffer(200)
    describe(text, len(text))
    version = text.value.decode().partition("Version ")[2].partition("-")[0]
    names = ("MKL_Get_Max_Threads", ctypes.c_int), ("MKL_Set_Num_Threads", None)
    return Blas("mkl", version, "", *(_function(library, *name) for name in names))


def _function(library: ctypes.CDLL, name: str, returns: Any) -> Any:
    """A function of the library, or None."""
    found = getattr(library, name, None)
    if found is not None:
        found.restype = returns
    return found
