"""What help() says of an estimator: what both share is written once."""

from __future__ import annotations

import inspect
from typing import TypeVar

from ._base import Perceptron
from ._parameters import Parameters

Estimator = TypeVar("Estimator", bound=type)


def with_shared_sections(kind: Estimator) -> Estimator:
    """The class, whose help() lists the parameters and attributes that both estimators have above its own.

    They are written once, in the docstrings of ``Parameters`` and ``Perceptron``.
    """
    if kind.__doc__:  # python -OO has none
        text = inspect.cleandoc(kind.__doc__)
        for section, shared_by in (("Args:\n", Parameters), ("Attributes:\n", Perceptron)):
            shared = inspect.cleandoc(shared_by.__doc__ or "").partition(section)[2]
            text = text.replace(section, f"{section}{shared}\n", 1)
        kind.__doc__ = text
    return kind
