"""W and b of a model by layer: its own numbers, which nobody changes, on every library."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from conftest import Platform, elsewhere

import chainrule as cr

X = np.random.default_rng(0).normal(size=(20, 4))
Y = np.random.default_rng(1).integers(0, 3, 20)
NETWORK = cr.Sequential(
    cr.Dense(4, 6, bias=False), cr.BatchNorm(6), cr.ReLU(), cr.Dense(6, 5), cr.LayerNorm(5), cr.Tanh(), cr.Dense(5, 3)
)
UNCOMPILED = cr.backend(compile=False)
SHAPES = {
    "W1": (4, 6), "gamma1": (1, 6), "beta1": (1, 6),
    "W2": (6, 5), "b2": (1, 5), "gamma2": (1, 5), "beta2": (1, 5),
    "W3": (5, 3), "b3": (1, 3),
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> cr.Model:
    return cr.fit(NETWORK, X, Y, loss="softmax_cross_entropy", epochs=2, backend=UNCOMPILED)


def test_they_are_the_pieces_of_theta_and_of_the_buffers_in_order(model: cr.Model) -> None:
    named = model.parameters
    assert {name: array.shape for name, array in named.items()} == SHAPES
    np.testing.assert_array_equal(np.concatenate([array.ravel() for array in named.values()]), model.theta)
    statistics = model.running_statistics
    assert list(statistics) == ["mean1", "variance1"]
    np.testing.assert_array_equal(np.concatenate([array.ravel() for array in statistics.values()]), model.buffers)
    plain = cr.fit(cr.mlp([4, 3]), X, Y, loss="softmax_cross_entropy", epochs=1, backend=UNCOMPILED)
    assert not plain.running_statistics


def test_the_network_computed_with_them_by_hand_is_the_models_prediction() -> None:
    network, float64 = cr.mlp([4, 5, 3], activation="tanh"), cr.backend(dtype="float64")
    model = cr.fit(network, X, Y, loss="softmax_cross_entropy", epochs=2, backend=float64)
    W1, b1, W2, b2 = model.parameters.values()
    e = np.exp(np.tanh(X @ W1 + b1) @ W2 + b2)
    np.testing.assert_allclose(model.predict_proba(X), e / e.sum(axis=1, keepdims=True), rtol=1e-13)


def test_the_names_are_those_of_the_gradients(model: cr.Model) -> None:
    gradients = cr.trace(model, X, Y).arrays
    assert {f"d{name}" for name in model.parameters} == {name for name in gradients if name[0] == "d"} - {
        "delta1", "delta2", "delta3"
    }  # fmt: skip
    for name, array in model.parameters.items():
        assert gradients[f"d{name}"].shape == array.shape


def test_on_numpy_they_share_the_models_memory_and_cannot_be_written_to(model: cr.Model) -> None:
    for named, flat in ((model.parameters, model.theta), (model.running_statistics, model.buffers)):
        for array in named.values():
            assert np.shares_memory(array, flat)
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0.0
            with pytest.raises(ValueError, match="cannot set WRITEABLE"):
                array.flags.writeable = True


@pytest.mark.parametrize("id", ["torch", "strictest-float64", "cupy-stand-in"])
def test_on_another_library_they_are_its_arrays_and_change_no_prediction(
    id: str, open_platform: Callable[..., Platform], model: cr.Model
) -> None:
    platform = open_platform(id)
    there = model.to(platform.backend)
    before = there.predict_proba(X)
    with elsewhere(platform):
        named = there.parameters
    for name, array in named.items():
        platform.check(array, model.parameters[name])
        if id == "torch":
            array *= 0.0
    np.testing.assert_array_equal(there.predict_proba(X), before)


def test_they_print_as_a_table_and_name_what_is_not_there(model: cr.Model) -> None:
    exact = dataclasses.replace(model, theta=np.arange(model.network.size) / 4.0)
    lines = str(exact.parameters).splitlines()
    assert lines[:2] == ["W1         0  0.25   0.5  0.75     1  1.25", "         1.5  1.75     2  2.25   2.5  2.75"]
    assert lines[4:6] == ["gamma1     6  6.25   6.5  6.75     7  7.25", "beta1    7.5  7.75     8  8.25   8.5  8.75"]
    assert "W2      6 x 5: 9, 9.25, 9.5, ...; mean 12.6, std 2.16, from 9 to 16.2" in lines
    with pytest.raises(KeyError, match=r"there is no array 'w4': did you mean 'W[123]'"):
        model.parameters["w4"]
