"""What an object of somebody else's is, by the names that it has."""

from __future__ import annotations

from typing import Any

from ..._base.errors import DataError


def attributes_of(X: Any, names: tuple[str, ...], what: str = "X") -> set[str]:
    """Those of the names that X has. Raises DataError where X fails when it is looked at."""
    try:
        return {name for name in names if hasattr(X, name)}
    except Exception as error:
        raise DataError(
            f"{what} is a {type(X).__name__} that cannot be read ({' '.join(str(error).split())}): open its file again."
        ) from error
