"""Rows to be read in windows, and a training on them."""

from __future__ import annotations

from typing import Any

import numpy as np

import chainrule as cr

RNG = np.random.default_rng(3)
X = RNG.normal(size=(1000, 6)).astype("float32")
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


def fit(x: Any, y: Any = Y, **settings: Any) -> cr.Model:
    usual: dict[str, Any] = {"loss": "softmax_cross_entropy", "epochs": 3, "batch_size": 32, "seed": 1}
    return cr.fit(cr.mlp([6, 8, 2], dropout=0.2), x, y, **{**usual, **settings})


def same(got: cr.Model, want: cr.Model) -> bool:
    return np.array_equal(np.asarray(got.theta), np.asarray(want.theta))
