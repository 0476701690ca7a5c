"""A call that must be refused, and how: what was expected, what came, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr

RNG = np.random.default_rng(99)
X = RNG.normal(size=(20, 3))
Y = X[:, 0]
LABELS = np.arange(20) % 3


class Case(NamedTuple):
    """A mistake, the error it must be, and what its message must say, in this order."""

    make: Callable[[], Any]
    error: type[cr.ChainruleError]
    says: str


def fit(X: Any = X, y: Any = Y, *, outputs: int = 1, network: Any = None, **options: Any) -> cr.Model:
    net = cr.mlp([3, 4, outputs]) if network is None else network
    return cr.fit(net, X, y, **{"loss": "squared_error", "epochs": 1, **options})


def classify(X: Any = X, y: Any = LABELS, **options: Any) -> cr.Model:
    return fit(X, y, **{"outputs": 3, "loss": "softmax_cross_entropy", **options})


BUILT_IN = {
    cr.ConfigurationError: ValueError,
    cr.ArgumentError: TypeError,
    cr.DataError: ValueError,
    cr.DTypeError: TypeError,
    cr.BackendError: RuntimeError,
    cr.DeviceMemoryError: MemoryError,
    cr.MissingAttributeError: AttributeError,
    cr.MissingEntryError: KeyError,
    cr.MissingExtraError: ImportError,
    cr.DivergenceError: FloatingPointError,
    cr.ContractError: AssertionError,
    cr.FileError: OSError,
    cr.ModelFileError: OSError,
}


def check(case: Case) -> None:
    with pytest.raises(cr.ChainruleError) as caught:
        case.make()
    error, message = caught.value, str(caught.value)
    assert type(error) is case.error
    assert isinstance(error, BUILT_IN[case.error])
    assert re.search(case.says, message), f"expected {case.says!r} in {message!r}"
    assert "\n" not in message
    assert len(message) < 500


MODEL = fit()
