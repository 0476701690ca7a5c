"""Sparse X: its rows go to the network a batch at a time, as they are on NumPy with kernels, made dense elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy.sparse import issparse

from .._backend import Backend
from .._base.typing import Array
from .._kernels import with_sparse_providers
from .._model.prediction import CHUNK, ForwardPass
from .._model.predictor import check_decided
from ..links import Link, LinkFinish, find_link
from ..model import Model
from ..network import without_link


def on_sparse(backend: Backend) -> Backend:
    """``backend`` as it can run on what ``move_rows`` gives."""
    return with_sparse_providers(backend) if _takes_csr(backend) else backend


def _takes_csr(backend: Backend) -> bool:
    """Whether the first layer multiplies by a CSR matrix: SciPy's product is no equation as it is written, nor bf16."""
    return backend.name == "numpy" and backend.kernels and backend.precision == "float32"


class SparseRows:
    """The rows of a CSR matrix in an epoch's order."""

    def __init__(self, X: Any) -> None:
        self._X = X

    def begin(self, order: np.ndarray, stop: Callable[[], bool]) -> None:
        self._order = order

    def take(self, first: int, rows: int) -> Any:
        return self._X[self._order[first : first + rows]]

    def close(self) -> None:
        """Nothing reads."""


def move_rows(backend: Backend, rows: Any) -> Array:
    """Rows of a CSR matrix for a step: CSR on NumPy, whose first layer multiplies by it, else a dense array."""
    if _takes_csr(backend):
        moved: Array = rows.astype(backend.dtype)
        return moved
    return backend.asarray(rows.toarray())


def forward_sparse(backend: Backend, forward: Callable[[Array], Array], X: Any) -> Array:
    """``forward`` of a CSR matrix, a bounded number of rows at a time."""
    return backend.xp.concat([forward(rows) for rows in _chunks(backend, X)], axis=0)


def predict(model: Model, X: Any, finish: LinkFinish) -> Any:
    """The model's predictions, in the library of X; for a CSR matrix on the host like it."""
    if not issparse(X):
        return model.predict_with(finish, X)
    backend, link = on_sparse(model.backend), find_link(model.loss)
    forward = ForwardPass(backend, without_link(model.network, model.loss), partial(finish, link))
    with backend.active():
        predictions = backend.to_numpy(forward_sparse(backend, forward.load(model.theta, model.buffers), X))
    if finish is Link.decide and link.predicts_classes:
        check_decided(backend, predictions, X)
    return predictions[:, 0] if model.flat and predictions.ndim == 2 and predictions.shape[1] == 1 else predictions


def _chunks(backend: Backend, X: Any) -> Iterator[Array]:
    for first in range(0, X.shape[0], CHUNK):
        yield move_rows(backend, X[first : first + CHUNK])
