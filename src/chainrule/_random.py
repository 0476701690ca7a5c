"""Random numbers that are the same on every backend.

On the host: NumPy's Philox, keyed by the seed and by what the numbers are for (a parameter's path, an epoch), so that
initial weights and shuffles do not depend on the backend or on the order in which they are drawn.

Inside a step: Threefry-2x32 with 20 rounds, a block cipher used as a function from (key, counter) to 64 random bits
(Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011). It is written in int32, the one
integer type whose wrap-around and shifts agree on NumPy, CuPy, torch and 32-bit JAX, so masks are equal bit for bit,
under jit too, and a checkpoint stores a few integers.
"""

from __future__ import annotations

import math
import zlib
from typing import NamedTuple

import numpy as np

from ._backend import Backend
from ._base.typing import Array

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA
_WORD = 0xFFFFFFFF
_FOLD = 0x9E3779B1  # odd, so that no fold loses one before; a fold of a fold is none of the first 2^20 of either


class Key(NamedTuple):
    """What a layer draws its random numbers by in one step: a key of the cipher Threefry (Salmon et al., 2011).

    The same key gives the same numbers, on every backend. A layer's ``forward`` is handed one that is new in each step
    and for each layer, and follows ``fit``'s seed. A layer that draws twice folds it: ``key.fold(0)``, ``key.fold(1)``.

    Args:
        k0, k1: the two words of the key, int32 arrays ``(..., 1, 1)``, with one pair for each network of a stack.
        first_row: the number that the first row has in the whole batch, where this is a part of it; default 0.
        folded: what it was folded by, as a number of 32 bits; default 0, by nothing.
        step: the step that it is for, counted from 1, an int32 array ``(1,)``; default None, none.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> backend, word = cr.backend("numpy"), np.asarray([[7]], dtype=np.int32)
        >>> key = cr.Key(word, word)
        >>> u = key.uniform(backend, 1000, 20)
        >>> float(u.mean().round(1)), bool((u == key.uniform(backend, 1000, 20)).all())
        (0.5, True)
        >>> bool((u == key.fold(1).uniform(backend, 1000, 20)).any())  # another key, other numbers
        False
    """

    k0: Array
    k1: Array
    first_row: int = 0
    folded: int = 0
    step: Array | None = None

    def fold(self, number: int) -> Key:
        """A key for the part numbered ``number``, from 0: a layer of the network, or one of a layer's own draws."""
        return self._replace(folded=_signed((self.folded * _FOLD + number + 1) & _WORD))

    @property
    def words(self) -> tuple[Array, Array]:
        """The words that the cipher takes. Only who draws pays for the fold, and for the step."""
        k0 = self.k0 ^ self.folded if self.folded else self.k0
        return k0, self.k1 if self.step is None else self.k1 ^ self.step[..., None]

    def uniform(self, backend: Backend, rows: int, columns: int) -> Array:
        """Numbers from U[0, 1), ``(..., rows, columns)``; the same each time, on every backend."""
        return backend.run(uniform, self, rows, columns)

    def normal(self, backend: Backend, rows: int, columns: int) -> Array:
        """Numbers from N(0, 1), ``(..., rows, columns)``, by sqrt(-2 ln u) cos(2 pi v) (Box & Muller, 1958)."""
        xp, drawn = backend.xp, self.uniform(backend, rows, 2 * columns)
        u, v = 1.0 - drawn[..., :columns], drawn[..., columns:]
        return xp.sqrt(-2.0 * xp.log(u)) * xp.cos((2.0 * math.pi) * v)


def host_generator(seed: int, *path: int | str) -> np.random.Generator:
    """A NumPy generator keyed by ``seed`` and by what it is for."""
    words = tuple(zlib.crc32(p.encode()) if isinstance(p, str) else p for p in path)
    # As a spawn key, not as more entropy, where (seed, 1) and (seed, 1, 0) would be the same.
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=words)))


def member_key(seed: int, member: int, epochs_before: int = 0) -> tuple[int, int]:
    """The two int32 key words of one member of a stack; ``epochs_before`` keeps a continued training's masks apart."""
    low, high = threefry_host((seed & _WORD, (seed >> 32) & _WORD), (member, epochs_before))
    return _signed(low), _signed(high)


def single_key(backend: Backend, seed: int) -> Key:
    """The key of one pass that belongs to no training run."""
    k0, k1 = (backend.asarray([[word]], backend.xp.int32) for word in member_key(seed, 0))
    return Key(k0, k1)


def step_key(key: Array, step: Array) -> Key:
    """The key of one step: the members' key words ``(..., 2)`` and the step counter ``(1,)``."""
    return Key(key[..., 0:1, None], key[..., 1:2, None], step=step)


def keep_mask(backend: Backend, key: Key, rows: int, columns: int, drop: float) -> Array:
    """A boolean mask ``(..., rows, columns)``, true with probability ``1 - drop`` (rounded to 1/65536).

    A bit depends on the key, the row and the column alone, so stacks, short batches and shards agree. One cipher call
    gives four bits: a 16-bit piece for each, compared as integers.
    """
    xp = backend.xp
    a, b = _words(backend, key, rows, (columns + 3) // 4)
    pieces = xp.concat([a & 0xFFFF, (a >> 16) & 0xFFFF, b & 0xFFFF, (b >> 16) & 0xFFFF], axis=-1)
    return pieces[..., :columns] >= drop_threshold(drop)


def drop_threshold(drop: float) -> int:
    """How many of the 65,536 values of a 16-bit piece drop an element."""
    return round(drop * 65536)


def uniform(backend: Backend, key: Key, rows: int, columns: int) -> Array:
    """Numbers in [0, 1) of 24 bits, ``(..., rows, columns)``, a function of the key, the row and the column alone.

    Faster bodies take its place on CuPy: ``chainrule where uniform``.
    """
    xp = backend.xp
    a, b = _words(backend, key, rows, (columns + 1) // 2)
    bits = (xp.concat([a, b], axis=-1)[..., :columns] >> 8) & 0xFFFFFF
    return xp.astype(bits, backend.dtype) * 2.0**-24


def _words(backend: Backend, key: Key, rows: int, columns: int) -> tuple[Array, Array]:
    xp = backend.xp
    row = xp.reshape(xp.arange(rows, dtype=xp.int32, device=backend.device), (-1, 1)) + key.first_row
    column = xp.reshape(xp.arange(columns, dtype=xp.int32, device=backend.device), (1, -1))
    return threefry(key.words, column, row)


def threefry(key: tuple[Array, Array], c0: Array, c1: Array) -> tuple[Array, Array]:
    """Threefry-2x32-20 on int32 arrays that wrap; ``>>`` is made logical by a mask."""
    k0, k1 = key
    schedule = (k0, k1, _PARITY ^ k0 ^ k1)
    x0, x1 = c0 + k0, c1 + k1
    for i in range(20):
        r = _ROTATIONS[i % 8]
        x0 = x0 + x1
        x1 = ((x1 << r) | ((x1 >> (32 - r)) & ((1 << r) - 1))) ^ x0
        if i % 4 == 3:
            j = i // 4 + 1
            x0 = x0 + schedule[j % 3]
            x1 = x1 + (schedule[(j + 1) % 3] + j)
    return x0, x1


def threefry_host(key: tuple[int, int], counter: tuple[int, int]) -> tuple[int, int]:
    """The same cipher on unsigned Python integers."""
    schedule = (key[0], key[1], _PARITY ^ key[0] ^ key[1])
    x0, x1 = (counter[0] + key[0]) & _WORD, (counter[1] + key[1]) & _WORD
    for i in range(20):
        r = _ROTATIONS[i % 8]
        x0 = (x0 + x1) & _WORD
        x1 = (((x1 << r) | (x1 >> (32 - r))) & _WORD) ^ x0
        if i % 4 == 3:
            j = i // 4 + 1
            x0 = (x0 + schedule[j % 3]) & _WORD
            x1 = (x1 + schedule[(j + 1) % 3] + j) & _WORD
    return x0, x1


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word
