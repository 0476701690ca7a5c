"""One part run over a few batches: as it is, as each library runs it, watched for reads on the host, recorded."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from .._backend import Backend, dtype_name, reference_backend
from .._backend._record import RecordingError, Tape, Traced
from .._backend._trees import leaves, tree_map
from .._base.errors import ContractError
from .._kernels import with_providers
from ._backends import HOST, opened, place, placed, words
from ._part import Part, locked
from ._watched import Watched

ROUNDING = 1000  # units in the last place; a mistake is hardly ever below a part in 1e3, of which float32 has 1e4 units


class Owned(NamedTuple):
    """What a step may overwrite and returns."""

    arrays: tuple[Any, ...]


class Answer(NamedTuple):
    """What a step returns: in words, and by which method."""

    what: str
    method: str


@dataclass(frozen=True)
class Trial:
    """``make(part)`` is ``step(owned, *given) -> (owned, *answers)``, arrays in and out, tried on a few batches.

    ``answers`` names the arrays of ``owned`` and what follows, and ``when`` the batches, behind such a name.
    """

    part: Part
    make: Callable[[Part], Callable[..., Any]]
    owned: tuple[Any, ...]
    batches: Sequence[tuple[Any, ...]]
    answers: Sequence[Answer]
    when: Sequence[str] = ("", " of the next batch", " of the third batch")

    def run(self, backend: Backend, note: str = "") -> list[list[np.ndarray]]:
        """The answers to each batch, on the host."""
        with backend.active(), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message=".*(uncompiled|cannot be recorded)", category=RuntimeWarning)
            owned, found = Owned(tree_map(lambda x: placed(backend, x), self.owned)), []
            step = self._step(backend, note)
            for given in self.batches:
                made = step(owned, *tree_map(lambda x: locked(placed(backend, x)), given))
                owned, *answers = (made,) if isinstance(made, Owned) else made
                found.append([np.array(backend.to_numpy(x)) for x in (*leaves(owned.arrays), *answers)])
            return found

    def _step(self, backend: Backend, note: str) -> Callable[..., Any]:
        part = replace(self.part, where=f"{words(backend)}{note}")

        def make(backend: Backend) -> Callable[..., Any]:
            step = self.make(replace(part, backend=backend))

            def copied(owned: Owned, *given: Any) -> Any:
                owned, *answers = step(owned, *given)
                return owned, *map(backend.copy, answers)  # an answer may be an argument as it is

            return copied

        return backend.compile(make)

    def agree(
        self, got: list[list[np.ndarray]], wanted: list[list[np.ndarray]], against: str, tolerance: float
    ) -> None:
        """Raises for the first answer that is not the one wanted."""
        for when, mine, theirs in zip(self.when, got, wanted, strict=False):
            for (what, method), a, b in zip(self.answers, mine, theirs, strict=True):
                self.part.same(a, b, f"{what}{when}", method, against, tolerance)

    def everywhere(self, backends: Sequence[str] | None, expected: list[list[np.ndarray]]) -> tuple[str, ...]:
        """The names of the backends that were tried; raises where one differs from NumPy in float64."""
        tried: dict[str, list[str]] = {}
        for backend in opened(backends):
            precision = float(np.finfo(dtype_name(backend.dtype)).eps)
            against = f"on {words(backend)} differs from NumPy's in float64"
            try:
                self.agree(self.run(backend), expected, against, ROUNDING * precision)
            except RuntimeWarning as error:
                raise self.part.broken(f"on {words(backend)} {str(error).rstrip('.')}") from error
            tried.setdefault(place(backend), []).append(dtype_name(backend.dtype))
        return tuple(f"{place} ({', '.join(dtypes)})" for place, dtypes in tried.items())

    def watched(self) -> None:
        """Raises where a number is read on the host, or an array handed to NumPy."""
        tape = Tape()
        backend = replace(HOST, xp=Watched(HOST.xp, tape))
        part = replace(self.part, backend=backend, where="numpy")

        def traced(x: np.ndarray) -> Traced:
            return Traced(tape, placed(HOST, x))

        try:
            self.make(part)(Owned(tree_map(traced, self.owned)), *tree_map(traced, self.batches[0]))
        except (RecordingError, AttributeError):
            return  # it does what is of the standard and is not followed further

    def replayed(self) -> tuple[str, ...]:
        """Whether it was recorded, which it is if it says ``traceable``; raises where the bits are not the step's."""
        # Without Numba's loops, which take seconds to compile.
        backend = with_providers(reference_backend("numpy", dtype="float64", compile=True), fast=False)
        if not backend.compiling([self.part.thing]).compiled:
            return ()
        as_it_is = self.run(replace(backend, compiled=False))
        try:
            replayed = self.run(backend, ", recorded")
        except RuntimeWarning as error:
            raise self.part.broken(f"says traceable and {str(error).rstrip('.')}; leave traceable out") from error
        against = "of a recorded step is not to the bit that of the step as it is"
        try:
            self.agree(replayed, as_it_is, against, 0.0)
        except ContractError as error:
            advice = "say traceable = True only of what depends on its arrays and fields alone"
            raise ContractError(f"{str(error).rstrip('.')}, or {advice}.") from error
        return ("recorded steps",)
