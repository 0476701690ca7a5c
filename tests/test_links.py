"""A link: probabilities or numbers of the last pre-activations, and the classes that go with them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
from conftest import Platform

import chainrule as cr
from chainrule.links import LINKS, find_link
from chainrule.losses import LOSSES, LinkName, SquaredError

Z = np.random.default_rng(2).normal(size=(9, 3))
# What is decided, of the probabilities or numbers p.
DECIDED: dict[str, Any] = {
    "softmax": lambda p: p.argmax(axis=1),
    "sigmoid": lambda p: p > 0.5,
    "linear": lambda p: p,
    "exponential": lambda p: p,
}


@pytest.mark.parametrize("name", get_args(LinkName))
def test_what_is_decided_goes_with_what_is_applied(name: str, platform: Platform) -> None:
    link, z = LINKS[name], platform.array(Z)
    p, decided = (platform.host(made) for made in (link.apply(platform.backend, z), link.decide(platform.backend, z)))
    np.testing.assert_array_equal(decided, DECIDED[name](p))
    assert link.name == name
    assert (link.predicts_classes, link.one_class) == (name in ("softmax", "sigmoid"), name == "softmax")
    overflowed = link.decide(platform.backend, platform.array(np.full((1, 3), np.nan)))
    assert (platform.host(overflowed) == -1).all() == link.predicts_classes


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_loss_finds_the_link_that_it_names(loss: Any) -> None:
    assert find_link(loss).name == loss.link


def test_a_loss_of_ones_own_that_names_no_link_is_refused() -> None:
    probit = SimpleNamespace(link="probit", target="numbers", per_example=SquaredError().per_example)
    with pytest.raises(
        cr.ConfigurationError, match=r"unknown link of a loss 'probit': Known: exponential, linear, sigmoid, softmax"
    ):
        cr.fit(cr.mlp([3, 1]), Z, Z[:, 0], loss=probit)


def test_a_regression_predicts_numbers_whatever_the_link() -> None:
    """Of shares that sum to 1 too, where a classifier would decide for the largest."""
    softmax = LOSSES["softmax_cross_entropy"]
    shares = cr.Loss(lambda xp, z, y: softmax.per_example(xp, z, y), link="softmax", target="fractions")
    y = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
    predictions = cr.MLPRegressor(loss=shares, tol=9.9, n_iter_no_change=1, random_state=0).fit(Z, y).predict(Z)
    np.testing.assert_allclose(predictions.sum(axis=1), np.ones(9))
