"""``measure``: a ladder of networks, every backend on each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from .._backend import DTYPES, LIBRARIES, available_backends
from .._base.errors import (
    BackendError,
    ChainruleError,
    ConfigurationError,
    DTypeError,
    InterruptedTraining,
    require,
    unknown_name,
    warn,
)
from .._base.options import as_list, real_number, whole_number
from .._kernels import backend as make_backend
from .._kernels import with_providers
from ._measurement import Measurement, Widths, network_name
from ._race import Entrant, Race

_NARROWEST = 8


def ladder(sizes: Sequence[int], count: int = 6) -> dict[Widths, float]:
    """Networks like ``sizes`` with hidden widths times ..., 1/2, 1, 2, ..., each with its factor, narrowest first.

    Nothing falls below 8 wide (or the user's own width, if that is less), and duplicates are dropped.

    Args:
        sizes: widths from input to output, ``[784, 512, 512, 10]``.
        count: how many factors, centred on the user's own; default 6, which are 1/8 to 4.

    Example:
        >>> from chainrule.benchmark import ladder
        >>> ladder([4, 16, 2], 5)
        {(4, 8, 2): 0.5, (4, 16, 2): 1.0, (4, 32, 2): 2.0, (4, 64, 2): 4.0}
    """
    own = tuple(sizes)
    rungs = {own: 1.0}
    for power in sorted(range(-(count // 2), count - count // 2), key=abs):
        hidden = [max(min(_NARROWEST, width), round(width * 2.0**power)) for width in own[1:-1]]
        rungs.setdefault((own[0], *hidden, own[-1]), 2.0**power)
    return dict(sorted(rungs.items(), key=lambda rung: rung[1]))


def usable_backends() -> list[str]:
    """Every backend that can run here, once for each kind of device; none that is there for tests."""
    names = []
    for row in available_backends():
        name, devices = str(row["name"]), row["devices"]
        if row["problem"] is not None or name.endswith("strict"):
            continue
        assert isinstance(devices, list)
        kinds = {device.partition(":")[0]: device for device in reversed(devices)}
        names += [name] if len(kinds) < 2 else [f"{name}:{kinds[kind]}" for kind in reversed(kinds)]
    return names


def measure(
    sizes: Sequence[int],
    batch_size: int = 128,
    rows: int = 10_000,
    backends: Iterable[str] | None = None,
    *,
    dtype: str = "float32",
    count: int = 6,
    seconds: float = 2.0,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
) -> list[Measurement]:
    """Train a ladder of networks around ``sizes`` on every backend: one measurement a network and backend.

    The networks are ``cr.mlp`` with ReLU, trained by Adam on softmax cross-entropy, every one from the same seed. A
    backend that fails has the reason in its measurement, and the others go on. The user's own network comes first.

    Args:
        sizes: widths from input to output, ``[784, 512, 512, 10]``.
        batch_size: rows a step, >= 1; default 128.
        rows: rows an epoch, at least ``batch_size``; default 10,000.
        backends: names, with a device where it is not the default: ``"numpy"``, ``"torch:cuda:0"``; None is every one
            that can run here (``usable_backends``).
        dtype: ``"float32"`` (the default) or ``"float64"``.
        count: how many networks the ladder has, 1 to 8; default 6; see ``ladder``.
        seconds: of timed epochs, > 0, for each network and backend; default 2; two epochs at least.
        seed: of the data, the initial weights and the order of rows; default 0.
        say: is told in a few words what is measured next; default nobody.

    Returns:
        The measurements, narrowest network first; ``answer`` and ``crossovers`` say what they mean.

    Raises:
        ConfigurationError, DTypeError: an option that cannot be. BackendError: no backend can run.

    Ctrl-C ends it: what was measured so far is returned and a warning says so, as ``fit`` does.

    Example:
        >>> from chainrule.benchmark import measure
        >>> [m.name for m in measure([4, 8, 2], 16, 64, ["numpy"], count=2, seconds=0.01)]
        ['4-8-2']
    """
    sizes = _check(sizes, batch_size, rows, dtype, count, seconds)
    entrants = [_enter(name, dtype) for name in dict.fromkeys(usable_backends() if backends is None else backends)]
    _require_one(entrants)
    X, y = _data(sizes, rows, dtype, seed)
    networks, found = ladder(sizes, count), list[Measurement]()
    for k, widths in enumerate(sorted(networks, key=lambda widths: networks[widths] != 1.0), 1):
        race = Race(widths, networks[widths], batch_size, seconds, seed, X, y, entrants)
        if say is not None:
            say(f"measuring {network_name(widths)} ({k} of {len(networks)})")
        finished = race.run()
        found += race.measurements()
        if not finished:
            text = f"interrupted at network {k} of {len(networks)}: what was measured so far is returned."
            warn(text, InterruptedTraining)
            break
    return sorted(found, key=lambda one: one.factor)


def _check(sizes: Sequence[int], batch_size: int, rows: int, dtype: str, count: int, seconds: float) -> Widths:
    sizes = tuple(whole_number("a width", size, least=1) for size in as_list(sizes, name="sizes", example="784, 10"))
    require(len(sizes) >= 2, f"sizes needs at least an input and an output width, got {list(sizes)}.")
    require(sizes[-1] >= 2, f"a benchmark trains on classes, 2 or more, got {sizes[-1]}: give it more classes.")
    whole_number("batch_size", batch_size, least=1)
    whole_number("rows", rows, least=2)
    require(
        rows >= batch_size,
        f"rows must be at least batch_size, got {rows} rows and batches of {batch_size}: more rows or smaller batches.",
    )
    require(1 <= whole_number("sizes of the ladder", count) <= 8, f"a ladder has 1 to 8 sizes, got {count}.")
    require(0 < real_number("seconds", seconds) < math.inf, f"seconds must be a number > 0, got {seconds:g}.")
    if dtype not in DTYPES:
        raise DTypeError(f"dtype must be 'float32' or 'float64', got {dtype!r}.")
    return sizes


def _enter(name: str, dtype: str) -> Entrant:
    library = name.partition(":")[0]
    if library not in LIBRARIES:
        raise unknown_name("backend", library, LIBRARIES)
    try:
        return Entrant(name, with_providers(make_backend(name, dtype=dtype), fast=True))  # as in a long training
    except ChainruleError as error:
        return Entrant(name, None, str(error))


def _require_one(entrants: Sequence[Entrant]) -> None:
    """Raise unless a backend can run."""
    if not entrants:
        raise ConfigurationError("a benchmark needs at least one backend, got none: name one, such as 'numpy'.")
    if all(entrant.backend is None for entrant in entrants):
        problems = " ".join(f"{entrant.name}: {entrant.problem}" for entrant in entrants)
        raise BackendError(f"expected a backend that can run here, got none that can. {problems}")


def _data(sizes: Widths, rows: int, dtype: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random examples, and as many of each class as of any other."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, sizes[0])).astype(dtype), rng.permutation(np.arange(rows) % sizes[-1])
