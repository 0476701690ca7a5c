"""The forward pass of a trained network, for any number of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np

from .._backend import Backend, dtype_name
from .._backend._blas_threads import SMALL, SPLIT
from .._backend._items import PREDICTED
from .._base.typing import Array
from .._kernels import loops_are_loaded, shares_of_predictions, with_loops
from ..links import note_infinite
from ..network import Sequential

Finish = Callable[[Backend, Array], Array]

CHUNK = 2048  # rows at a time on the host: their activations stay in the cache, and memory stays bounded
_CHUNKS = 16  # the most that one compiled call takes as its items: with the same products, and the same bits
_CACHE = 2**22  # bytes of their activations
_SUM = 26  # multiplications of a product that the BLAS splits for each number of a sum that it does
_MOST = 2**20  # and on a device with a memory of its own, which takes as many as there is room for


class Weights(NamedTuple):
    """What a trained network is made of, as the state of a compiled pass; the pass does not change it."""

    theta: Array
    buffers: Array


class ForwardPass:
    """A network's last pre-activations z, or ``finish(backend, z)``, a bounded number of rows at a time.

    ``load`` the weights, then call it. What is asked for again and again (chunks of many rows, or calls with as many
    rows as the last one; ``steady``, every call) is compiled where steps are. Numba's loops give NumPy's predictions:
    they run where they are loaded already, or the calls so far pay for it. It belongs to one thread.

    Where it ``watches``, x need not be checked: ``came_upon_infinite`` says whether x or z must be looked at closely.
    """

    def __init__(
        self,
        backend: Backend,
        network: Sequential,
        finish: Finish | None = None,
        *,
        steady: bool = False,
        watch: bool = False,
    ) -> None:
        self._backend, self._network, self._finish = backend, network, finish
        # Not where a compilation takes long, and was asked for for the steps.
        self._compiles = backend.compiling(network.parts()).compiled and backend.library.COMPILES_SOON
        self._program: Any = None
        self._weights: Weights | None = None
        self._owned: Weights | None = None  # the program's copy
        self.watches = watch and self._compiles and backend.kernels and note_infinite in backend.providers
        self._infinite = np.zeros(1, np.int64) if self.watches else None
        self._steady, self._last_rows = steady, 0
        self._quick_rows: int | None = None
        self._x: Any = None  # the rows of a quick call
        self._was_compiled = False
        self._multiplications = network.multiplications(1)
        self._least = max(self._multiplications, _SUM * network.n_in)
        self._shares, self._paid = shares_of_predictions(network), 0.0
        # Not where the BLAS would split the products of a chunk, which may give them other last bits than an item's.
        self._chunk = min(CHUNK, PREDICTED) if backend.library.RECORDS else CHUNK
        self._cuts = self._compiles and backend.library.RECORDS and self._chunk * self._multiplications <= SMALL
        self._window = min(_CHUNKS * self._chunk, max(1, _CACHE // bytes_a_row(backend, network)))

    def load(self, theta: Array, buffers: Array) -> ForwardPass:
        """Take these weights from now on; again when a step has overwritten them."""
        self._weights, self._owned, self._quick_rows = Weights(theta, buffers), None, None
        backend, network = self._backend, self._network
        self._pieces = network.layout.split(backend, theta), network.buffer_layout.split(backend, buffers)
        return self

    def __call__(self, x: Any) -> Array:
        """The z ``(rows, n)`` of x ``(rows, n_in)``, or what it was finished to."""
        rows = x.shape[0]
        if rows == self._quick_rows and x.flags.c_contiguous:
            np.copyto(self._x, x)
            _, z = self._program(self._owned, self._x)
            return z
        multiplications = min(rows, self._chunk) * self._least
        with self._backend.predicting(multiplications), np.errstate(all="ignore"):  # NumPy would warn of an overflow
            z = self._answer(x, rows)
        self._be_quick(x, multiplications)
        return z

    def came_upon_infinite(self) -> bool:
        """Whether x or z was NaN, infinite or close to it, since this was asked."""
        assert self._infinite is not None, "it was told to watch"
        found, self._infinite[0] = self._infinite[0], 0
        return bool(found)

    def _be_quick(self, x: Any, multiplications: int) -> None:
        """Be ready for as many rows again, where these were one compiled call of products that no BLAS splits.

        NumPy warns of nothing in such a call. Its rows lie in memory of its own, and it need not be told where.
        """
        is_quick = self._was_compiled and x.shape[0] <= self._chunk and self._is_one_call() and multiplications < SPLIT
        if is_quick and (self._x is None or self._x.shape != x.shape):
            self._x = np.empty(x.shape, x.dtype)
        self._quick_rows = x.shape[0] if is_quick else None

    def _is_one_call(self) -> bool:
        return bool(getattr(self._program, "is_one_call", False))

    def _answer(self, x: Array, rows: int) -> Array:
        again, self._last_rows = self._steady or rows == self._last_rows, rows
        chunk = self._chunk if rows <= self._chunk else self._rows_at_once()
        self._was_compiled = again and self._compiles
        if rows <= chunk:
            return self._run_compiled(x) if self._was_compiled else self._run(x)
        run = self._run_compiled if self._compiles else self._run
        chunks, first = [], 0
        while rows - first >= chunk:
            # A chunk alone shows whether a program is one call.
            cut = self._cuts and self._is_one_call()
            most = min(self._window, rows - first) // chunk if cut else 1
            more = chunk << max(0, most.bit_length() - 1)
            z = run(x[first : first + more, :])
            self._cuts = self._cuts and (more == chunk or self._is_one_call())
            if more == chunk or self._cuts:
                chunks.append(z)
                first += more
        if first < rows:
            chunks.append(self._run(x[first:, :]))
        return chunks[0] if len(chunks) == 1 else self._backend.xp.concat(chunks, axis=0)

    def _rows_at_once(self) -> int:
        """A power of two, so that a program is used again; their activations take a quarter of the room at most."""
        memory = self._backend.memory
        if memory is None:
            return self._chunk
        room = memory.free() // (4 * bytes_a_row(self._backend, self._network))
        return min(_MOST, max(CHUNK, 1 << max(room.bit_length() - 1, 0)))

    def _run(self, x: Array) -> Array:
        z = self._network.apply_split(self._backend, *self._pieces, x)
        if self._infinite is not None:
            self._backend.run(note_infinite, x, z, self._infinite)
        return z if self._finish is None else self._finish(self._backend, z)

    def _run_compiled(self, x: Array) -> Array:
        before, (call, row) = self._paid, self._shares
        self._paid = paid = before + call + row * x.shape[0]
        if self._program is None or (before < 1.0 <= paid and not self._is_one_call()):
            backend = with_loops(self._backend, pays=paid >= 1.0 or loops_are_loaded())
            self._program = backend.compile(make_pass, self._network, self._finish, self._infinite)
        if self._owned is None:
            assert self._weights is not None, "load the weights first"
            self._owned = Weights(*map(self._backend.copy, self._weights))
        self._owned, z = self._program(self._owned, x)
        return cast("Array", z)


def make_pass(
    backend: Backend, network: Sequential, finish: Finish | None = None, infinite: Array | None = None
) -> Callable[[Weights, Array], tuple[Weights, Array]]:
    """The prediction pass in the form of a step; ``infinite`` is written to as ``note_infinite`` does."""

    def forward(weights: Weights, x: Array) -> tuple[Weights, Array]:
        z = network.apply(backend, weights.theta, weights.buffers, x)
        if infinite is not None:
            backend.run(note_infinite, x, z, infinite)
        return weights, z if finish is None else finish(backend, z)

    return forward


def bytes_a_row(backend: Backend, network: Sequential) -> int:
    """How many bytes a row takes in the outputs of all layers."""
    return sum(network.widths) * np.dtype(dtype_name(backend.dtype)).itemsize
