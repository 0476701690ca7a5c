"""``cr.trace`` shows what passes the layers: torch's numbers and the lectures', in the library of X, readably."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Platform, elsewhere, find_library
from small_tables import table

import chainrule as cr
from chainrule._backend import reference_backend
from chainrule._random import single_key
from chainrule.backpropagation import value_and_gradient
from chainrule.batch import Batch
from chainrule.layers._dropout import dropout_mask
from chainrule.tables import Preprocessing

FLOAT64 = reference_backend("numpy", dtype="float64")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 4))
Y = RNG.integers(0, 3, 7)
DEEP = cr.Sequential(
    cr.Dense(4, 6, bias=False), cr.BatchNorm(6), cr.ReLU(), cr.Dropout(0.4),
    cr.Dense(6, 5), cr.LayerNorm(5), cr.Tanh(),
    cr.Dense(5, 3), cr.Softmax(),
)  # fmt: skip
EXAMPLE_A = cr.Sequential(cr.Dense(2, 2), cr.Sigmoid(), cr.Dense(2, 2), cr.Sigmoid())
THETA_A = [0.15, 0.25, 0.20, 0.30, 0.35, 0.35, 0.40, 0.50, 0.45, 0.55, 0.60, 0.60]
# The lectures write W as units x inputs, here it is inputs x units.
BY_HAND = {
    "x": [[0.05, 0.10]],
    "z1": [[0.3775, 0.3925]],
    "a1": [[0.59326999, 0.59688438]],
    "z2": [[1.10590597, 1.2249214]],
    "a2": [[0.75136507, 0.77292847]],
    "delta2": [[0.13849856, -0.03809824]],
    "dW2": np.transpose([[0.08216704, 0.08266763], [-0.02260254, -0.02274024]]),
    "db2": [[0.13849856, -0.03809824]],
    "delta1": [[0.00877135, 0.00995425]],
    "dW1": np.transpose([[0.00043857, 0.00087714], [0.00049771, 0.00099543]]),
    "db1": [[0.00877135, 0.00995425]],
}


@pytest.mark.parametrize("id", ["numpy-readonly", "strictest-float64", "torch", "jax-jit", "cupy-stand-in"])
def test_the_lectures_numbers_come_in_the_library_and_on_the_device_of_x(
    id: str, open_platform: Callable[..., Platform]
) -> None:
    platform = open_platform(id)
    x, y = platform.array(BY_HAND["x"]), platform.array([[0.01, 0.99]])
    with elsewhere(platform):
        seen = cr.trace(EXAMPLE_A, x, y, loss="squared_error", theta=THETA_A, backend=platform.backend)
        assert "delta1" in str(seen)
    assert [name for name in seen.arrays if name[0] not in "WbC"] == list(BY_HAND)
    platform.check(seen["W1"], [[0.15, 0.25], [0.2, 0.3]], atol=platform.eps)
    assert seen["C"] is seen.cost
    for name, number in BY_HAND.items():
        platform.check(seen[name], number, atol=5.1e-9 + 2.0 * platform.eps)
    platform.check(seen.cost, 0.2983711087600027, rtol=4.0 * platform.eps)


def test_every_number_is_torchs() -> None:
    torch = find_library("torch")
    seen = cr.trace(DEEP, X, Y, loss="softmax_cross_entropy", seed=3, backend=FLOAT64)
    theta = [torch.tensor(p, requires_grad=True) for p in parameters(DEEP, seed=3).values()]
    W1, gamma1, beta1, W2, b2, gamma2, beta2, W3, b3 = theta
    mask = torch.tensor(dropout_mask(FLOAT64, single_key(FLOAT64, 3).fold(3), 7, 6, 0.4))
    assert 0 < torch.sum(mask == 0.0) < 42  # it is a training pass
    z1 = torch.tensor(X) @ W1
    n1 = torch.nn.functional.batch_norm(z1, None, None, gamma1[0], beta1[0], training=True)
    r1 = torch.relu(n1)
    a1 = r1 * mask
    z2 = a1 @ W2 + b2
    n2 = torch.nn.functional.layer_norm(z2, (5,), gamma2[0], beta2[0])
    a2 = torch.tanh(n2)
    z3 = a2 @ W3 + b3
    value = torch.nn.functional.cross_entropy(z3, torch.tensor(Y))
    between = [z1, n1, r1, a1, z2, n2, a2, z3]
    for tensor in between:
        tensor.retain_grad()
    value.backward()
    parts = [part for layer in seen for part in layer.parts]
    for part, tensor in zip(parts, between, strict=True):
        same(part.output, tensor)
        same(part.output_gradient, tensor.grad)
    same(seen[3].a, torch.softmax(z3, dim=1))
    same(seen.cost, value)
    for layer, z, a, x in zip(seen, (z1, z2, z3), (a1, a2, None), (torch.tensor(X), a1, a2), strict=True):
        same(layer.x, x)
        same(layer.z, z)
        same(layer.delta, z.grad)
        assert a is None or np.array_equal(layer.a, seen[f"a{layer.number}"])
    names = ["dW1", "dgamma1", "dbeta1", "dW2", "db2", "dgamma2", "dbeta2", "dW3", "db3"]
    for name, tensor in zip(names, theta, strict=True):
        same(seen[name], tensor.grad)
    assert [set(layer.gradients) for layer in seen] == [
        {"W", "gamma", "beta"},
        {"W", "b", "gamma", "beta"},
        {"W", "b"},
    ]


def same(got: Any, tensor: Any) -> None:
    np.testing.assert_allclose(got, tensor.detach().numpy(), rtol=1e-12, atol=1e-14)


def parameters(network: cr.Sequential, seed: int) -> dict[str, np.ndarray]:
    pieces = network.layout.split(FLOAT64, network.initial_theta(seed))
    return {f"{i}.{k}": piece for i, group in enumerate(pieces) for k, piece in enumerate(group)}


def test_the_gradients_are_those_of_training_bit_for_bit() -> None:
    seen = cr.trace(DEEP, X, Y, loss="softmax_cross_entropy", backend=FLOAT64)
    network, loss = cr.Sequential(*DEEP.layers[:-1]), cr.SoftmaxCrossEntropy()
    batch = Batch(X, Y.reshape(-1, 1).astype(np.int32))
    numbers = network.initial_theta(0), network.initial_buffers()
    value, gradient, _ = value_and_gradient(FLOAT64, network, loss, *numbers, batch, single_key(FLOAT64, 0))
    assert seen.cost == value
    np.testing.assert_array_equal(np.concatenate([g.ravel() for one in seen for g in one.gradients.values()]), gradient)


def test_dc_dw_is_the_layers_input_times_its_delta() -> None:
    for layer in cr.trace(cr.mlp([4, 5, 3], dropout=0.5), X, Y, loss="softmax_cross_entropy", backend=FLOAT64):
        np.testing.assert_array_equal(layer.gradients["W"], layer.x.T @ layer.delta)


def test_without_targets_there_is_no_way_back() -> None:
    seen = cr.trace(DEEP, X)
    assert (seen.cost, seen[1].delta, len(seen[1].gradients)) == (None, None, 0)
    assert [name for name in seen.arrays if name[0] in "xza"] == ["x", "z1", "a1", "z2", "a2", "z3", "a3"]
    assert list(seen[1].parameters) == ["W", "gamma", "beta"]
    np.testing.assert_allclose(seen["a3"].sum(axis=1), 1.0, rtol=1e-6)  # it ends in softmax
    assert "back" not in str(seen)
    with pytest.raises(KeyError, match="there is no array 'dW1': did you mean 'W1'"):
        seen["dW1"]


def test_the_last_activation_is_the_prediction() -> None:
    network = cr.mlp([4, 5, 3], activation="tanh")  # ends in pre-activations, and the loss has the softmax
    model = cr.fit(network, X, Y, loss="softmax_cross_entropy", epochs=2, backend=cr.backend(compile=False))
    seen = cr.trace(model, X, Y)
    np.testing.assert_array_equal(seen[2].a, model.predict_proba(X))
    assert seen[2].name == "Dense(5, 3), softmax of the loss"
    np.testing.assert_allclose(seen[2].delta, (seen[2].a - np.eye(3)[Y]) / 7, atol=1e-7)
    assert float(seen.cost) == pytest.approx(model.evaluate(X, Y)["loss"])


def test_a_model_brings_its_classes_and_its_preprocessing() -> None:
    frame = {"size": [1.0, 2.0, 3.0, 4.0] * 3, "kind": ["a", "b", "b", "a"] * 3}
    labels = ["no", "yes", "yes", "no"] * 3
    known = Preprocessing.learn(table(labels, size=frame["size"], kind=frame["kind"]))
    network = cr.mlp([known.n_features, 4, 1])
    model = cr.fit(
        network,
        frame,
        labels,
        loss="sigmoid_cross_entropy",
        epochs=3,
        backend=cr.backend(compile=False),
        preprocessing=known,
    )
    seen = cr.trace(model, frame, labels)
    plain = model.without_preprocessing()
    again = cr.trace(plain, model.schema.inputs(frame), model.schema.targets(labels))
    for name in seen.arrays:
        assert isinstance(seen[name], np.ndarray)
        np.testing.assert_array_equal(seen[name], again[name])


def test_arrays_go_back_to_the_library_of_x_whatever_the_model_runs_on() -> None:
    torch = find_library("torch")
    model = cr.fit(cr.mlp([4, 5, 3]), X, Y, loss="softmax_cross_entropy", epochs=1, backend=cr.backend(compile=False))
    there = cr.trace(model, torch.tensor(X), torch.tensor(Y))
    here = cr.trace(model, X, Y)
    assert tuple(there.cost.shape) == here.cost.shape == ()
    assert float(there.cost) == here.cost
    for name in here.arrays:
        assert isinstance(there[name], torch.Tensor)
        np.testing.assert_array_equal(there[name].numpy(), here[name])


def test_what_is_handed_out_is_nobody_elses() -> None:
    x = X.astype(np.float32)
    model = cr.fit(cr.mlp([4, 3]), x, Y, loss="softmax_cross_entropy", epochs=1, backend=cr.backend(compile=False))
    before, theta = x.copy(), model.theta.copy()
    seen = cr.trace(model, x, Y)
    for array in seen.arrays.values():
        array[...] = 0.0
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(model.theta, theta)


def test_lists_and_frames_are_taken_and_sparse_matrices_refused() -> None:
    pandas, sparse = find_library("pandas"), find_library("scipy", "scipy.sparse")
    seen = cr.trace(DEEP, X)
    np.testing.assert_array_equal(cr.trace(DEEP, X.tolist())["a3"], seen["a3"])
    np.testing.assert_array_equal(cr.trace(DEEP, pandas.DataFrame(X))["a3"], seen["a3"])
    with pytest.raises(cr.DTypeError, match=r"dense array, got a sparse csr_matrix: use X\.toarray\(\)"):
        cr.trace(DEEP, sparse.csr_matrix(X))


def test_a_stack_is_its_networks() -> None:
    network = cr.mlp([4, 5, 3], activation="tanh", normalization="batch")
    thetas = np.stack([network.initial_theta(seed) for seed in (4, 9)])
    both = cr.trace(network, X, Y, loss="softmax_cross_entropy", theta=thetas, backend=FLOAT64)
    for k in range(2):
        one = cr.trace(network, X, Y, loss="softmax_cross_entropy", theta=thetas[k], backend=FLOAT64)
        for name in one.arrays:
            np.testing.assert_array_equal(both[name] if name == "x" else both[name][k], one[name])
        assert both.cost[k] == one.cost


def test_each_network_of_a_stack_has_a_mask_of_its_own_and_the_first_that_of_one() -> None:
    same_thetas = np.stack([DEEP.initial_theta(0)] * 2)
    a, b = cr.trace(DEEP, X, theta=same_thetas)["a1"]
    np.testing.assert_array_equal(a, cr.trace(DEEP, X)["a1"])
    assert not np.array_equal(a, b)


def test_a_second_parameter_of_a_name_is_primed() -> None:
    network = cr.Sequential(cr.LayerNorm(4), cr.Dense(4, 3), cr.BatchNorm(3), cr.LayerNorm(3), cr.LayerNorm(3))
    seen = cr.trace(network, X, X[:, :3], loss="squared_error")
    expected = ["gamma", "beta", "W", "b", "gamma'", "beta'", "gamma''", "beta''", "gamma'''", "beta'''"]
    assert list(seen[1].gradients) == expected
    assert seen["dgamma''1"] is seen[1].parts[3].gradients["gamma''"]
    assert str(seen).count("\nLayerNorm(3)") == 1  # the last one's output is a
    assert str(seen).count("\nLayerNorm(4)") == 1


def test_layers_whose_weights_do_not_decay_are_one_layer() -> None:
    @dataclasses.dataclass(frozen=True)
    class Scale(cr.LayerNorm):
        n_in: int = 4

    network = cr.Sequential(Scale(4), cr.Tanh())
    seen = cr.trace(network, X, X, loss="squared_error")
    assert len(seen) == 1
    assert list(seen[1].gradients) == ["gamma", "beta"]


def test_the_table_stays_readable() -> None:
    text = str(cr.trace(cr.mlp([60] * 120 + [3]), np.ones((500, 60)), np.arange(500) % 3, loss="softmax_cross_entropy"))
    lines = text.splitlines()
    assert lines[0] == "500 examples in rows, one training pass. Layers 11 to 110 are not shown."
    assert len(lines) == 1 + 1 + 20 * 5 + 1 + 20 * 4
    assert max(map(len, lines)) < 120
    assert any(line.startswith("dW120     60 x 3: ") and "; mean " in line for line in lines)
    assert [number for number in (10, 11, 110, 111) if f"layer {number}:" in text] == [10, 111]


def test_what_is_not_finite_is_shown() -> None:
    with np.errstate(over="raise", invalid="raise"):
        text = str(cr.trace(cr.mlp([1, 9, 9, 1], activation="exponential"), [[1e30], [2e30]]))
    assert "inf" in text


def test_a_trace_and_a_layer_of_it_are_pickled_and_printed() -> None:
    seen = cr.trace(DEEP, X, Y, loss="softmax_cross_entropy")
    assert str(pickle.loads(pickle.dumps(seen))) == str(seen)
    assert str(seen[2]).splitlines()[0] == "layer 2: Dense(6, 5), LayerNorm(5), Tanh"
    assert repr(seen[1].parts[1]) == "PartTrace(number=2, name='BatchNorm(6)')"


@pytest.mark.parametrize("number", [0, 4, -1])
def test_layers_are_counted_from_1(number: int) -> None:
    with pytest.raises(KeyError, match=f"there is no layer {number}: the layers are counted from 1 to 3"):
        cr.trace(DEEP, X)[number]


@pytest.mark.parametrize(
    ("given", "options", "says"),
    [
        (DEEP, {"y": Y}, "y needs a loss"),
        (DEEP, {"theta": [1.0]}, r"theta must have shape \(99,\) for this network, or \(k, 99\).*got \(1,\)"),
        (DEEP, {"seed": -1}, "seed must be a whole number >= 0"),
        ("relu", {}, r"expected a network or a model, got 'relu': .* estimator\.model_"),
        (cr.mlp([4, 3], output="step"), {"y": X[:, :3], "loss": "squared_error"}, "train with activation='sigmoid'"),
        (DEEP, {"y": Y[:3], "loss": "softmax_cross_entropy"}, "the same number of rows"),
    ],
)
def test_what_cannot_be_traced_is_said(given: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        cr.trace(given, X, **options)
