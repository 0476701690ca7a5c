"""Arrays by name, printed so that a person can read them, however large they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .._backend import to_host
from .._base.errors import missing_array
from .._base.typing import Array

# Larger matrices are printed in one line.
_ROWS, _COLUMNS = 4, 6


@dataclass(frozen=True, eq=False, repr=False)
class NamedArrays(Mapping[str, Array]):
    """Arrays by name, in order; ``print`` them for a table. A missing name raises MissingEntryError, a KeyError."""

    arrays: dict[str, Array]

    __eq__, __hash__ = object.__eq__, object.__hash__  # a Mapping's would ask arrays for one truth value

    def __getitem__(self, name: str) -> Array:
        if name not in self.arrays:
            raise missing_array(name, self.arrays)
        return self.arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self.arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def __repr__(self) -> str:
        return table([("", self.arrays.items())])


def table(sections: Sequence[tuple[str, Iterable[tuple[str, Array]]]]) -> str:
    """Arrays under headings: a small matrix row by row, of a larger one its shape, its first numbers and its size."""
    listed = [(heading, [(name, _lines(to_host(array))) for name, array in arrays]) for heading, arrays in sections]
    width = max((len(name) for _, arrays in listed for name, _ in arrays), default=0)
    lines = []
    for heading, arrays in listed:
        lines += [heading] if heading else []
        for name, rows in arrays:
            lines += [f"{name if k == 0 else '':<{width}}  {row}" for k, row in enumerate(rows)]
    return "\n".join(lines)


def _lines(x: np.ndarray) -> list[str]:
    digits = 8 if x.dtype == np.float64 else 6
    matrix = np.atleast_2d(x)
    if matrix.ndim == 2 and matrix.shape[0] <= _ROWS and matrix.shape[1] <= _COLUMNS:
        cells = [[f"{v:.{digits}g}" for v in row] for row in matrix]
        width = max(len(cell) for row in cells for cell in row)
        return ["  ".join(cell.rjust(width) for cell in row) for row in cells]
    first = ", ".join(f"{v:.4g}" for v in x.flat[:3])
    with np.errstate(all="ignore"):  # what is not finite is shown as such
        size = f"mean {x.mean():.3g}, std {x.std():.3g}, from {x.min():.3g} to {x.max():.3g}"
    return [f"{' x '.join(map(str, x.shape))}: {first}, ...; {size}"]
