"""``model(X)``, ``cr.Sigmoid()(z)`` compute; what a network or a model does not have says what to write."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Platform, elsewhere, find_library

import chainrule as cr
from chainrule.activations import ACTIVATIONS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4))
Y = RNG.integers(0, 3, 30)
Z = RNG.normal(scale=3.0, size=(5, 3))


def trained(network: cr.Sequential, y: Any, loss: str, **options: Any) -> cr.Model:
    return cr.fit(network, X, y, loss=loss, epochs=2, backend=cr.backend(dtype="float64", compile=False), **options)


# ------------------------------------------------------------------------------------------------------------- model(X)


@pytest.mark.parametrize("output", [None, "softmax"])
def test_a_called_model_is_the_network_as_it_is_written(output: str | None) -> None:
    network = cr.mlp([4, 5, 3], activation="tanh", normalization="batch", dropout=0.5, output=output)
    model = trained(network, Y, "softmax_cross_entropy")
    backend = model.backend
    written = network.apply(backend, model.theta, model.buffers, X)
    np.testing.assert_array_equal(model(X), written)
    assert np.array_equal(model(X), model.predict_proba(X)) == (output == "softmax")
    np.testing.assert_array_equal(model(X).argmax(axis=1), model.predict(X))


def test_an_output_is_a_matrix_where_a_prediction_is_not() -> None:
    model = trained(cr.mlp([4, 3, 1]), X[:, 0], "squared_error")
    assert (model(X).shape, model.predict(X).shape) == ((30, 1), (30,))
    np.testing.assert_array_equal(model(X)[:, 0], model.predict(X))


def test_an_output_is_the_networks_own_where_predictions_have_labels_and_units() -> None:
    classes = ("no", "yes")
    model = trained(cr.mlp([4, 1], output="sigmoid"), Y > 0, "sigmoid_cross_entropy")
    named = dataclasses.replace(model, classes=classes)
    assert set(named.predict(X)) <= set(classes)
    np.testing.assert_array_equal(named(X)[:, 0], named.predict_proba(X)[:, 1])


def test_an_output_comes_in_the_library_of_x() -> None:
    torch, jax = find_library("torch"), find_library("jax")
    model = trained(cr.mlp([4, 3]), Y, "softmax_cross_entropy")
    assert isinstance(model(torch.tensor(X)), torch.Tensor)
    there = model.to("jax", dtype="float32")
    x = jax.numpy.asarray(X, dtype="float32")
    np.testing.assert_allclose(jax.jit(there.__call__)(x), model(X), rtol=1e-4, atol=1e-5)


# --------------------------------------------------------------------------------------------------------- Sigmoid()(z)


@pytest.mark.parametrize("id", ["numpy", "strictest-float32", "torch", "jax-jit", "cupy-stand-in"])
def test_an_activation_of_an_array_is_in_its_library_dtype_and_on_its_device(
    id: str, open_platform: Callable[..., Platform]
) -> None:
    platform = open_platform(id)
    z = platform.array(Z)
    for activation in ("sigmoid", "gelu") if id == "jax-jit" else ACTIVATIONS:
        g = ACTIVATIONS[activation]
        with elsewhere(platform):
            called = g(z)
        platform.check(called, platform.host(g.value(platform.backend.xp, z)))
    platform.check(cr.Activation(lambda xp, z: z * z, lambda xp, z: 2.0 * z)(z), platform.host(z) ** 2, rtol=1e-7)


def test_a_list_is_numpys_and_a_number_a_number() -> None:
    listed = cr.Tanh()([[0.0, 1.0]])
    assert listed.dtype == np.float64
    np.testing.assert_array_equal(listed, np.tanh([[0.0, 1.0]]))
    for number in (2, 2.0, np.float32(2.0), np.int8(2), True + True):
        value = cr.Sigmoid()(number)
        assert type(value) is float
        assert value == pytest.approx(1.0 / (1.0 + np.exp(-2.0)), rel=1e-7)
    assert cr.ReLU()(np.zeros((0, 3))).shape == (0, 3)


def test_whole_numbers_become_the_librarys_default_floats_and_others_stay() -> None:
    torch = find_library("torch")
    for z in (np.arange(3), np.arange(3, dtype=np.uint8), np.ones(2, bool)):
        assert cr.Sigmoid()(z).dtype == np.float64
    assert cr.Step()(torch.arange(3)).dtype == torch.float32
    assert cr.Sigmoid()(np.ones(2, np.float16)).dtype == np.float16
    assert cr.Sigmoid()(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_libraries_follow_a_called_activation() -> None:
    torch, jax = find_library("torch"), find_library("jax")
    z = torch.tensor([0.3], requires_grad=True)
    cr.Sigmoid()(z).sum().backward()
    slope = cr.Sigmoid().derivative(np, np.float64(0.3), cr.Sigmoid()(0.3))
    assert float(z.grad) == pytest.approx(slope, rel=1e-6)
    assert float(jax.jit(jax.grad(cr.Sigmoid()))(0.3)) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("z", ["a", None, ["a"], [1j], np.asarray(["2020"], "M8[D]"), {1.0}])
def test_what_is_no_number_is_refused(z: Any) -> None:
    with pytest.raises(cr.DTypeError, match="expected an array, a list or a number, of real numbers, got"):
        cr.Sigmoid()(z)


def test_an_activation_that_is_called_is_recorded_as_before_where_its_class_allows_it() -> None:
    @dataclasses.dataclass(frozen=True)
    class Square(cr.activations.Elementwise):
        traceable = True

        def value(self, xp: Any, z: Any) -> Any:
            return z * z

        def derivative(self, xp: Any, z: Any, a: Any) -> Any:
            return 2.0 * z

    assert Square()(3) == 9.0
    as_written = cr.backend("numpy", kernels=False)
    assert as_written.compiling(cr.Sequential(cr.Dense(4, 1), Square()).parts()).compiled
    function = cr.Activation(lambda xp, z: z * z, lambda xp, z: 2.0 * z)
    assert not as_written.compiling(cr.Sequential(cr.Dense(4, 1), function).parts()).compiled


def test_an_activation_of_ones_own_need_not_be_callable() -> None:
    class Square:
        def value(self, xp: Any, z: Any) -> Any:
            return z * z

        def derivative(self, xp: Any, z: Any, a: Any) -> Any:
            return 2.0 * z

    network = cr.Sequential(cr.Dense(4, 3), Square(), cr.Dense(3, 1))
    assert cr.check_gradients(network, X, X[:, 0], loss="squared_error").passed


# ---------------------------------------------------------------------------------------------------- what is not there


@pytest.mark.parametrize("name", ["predict", "predict_proba", "evaluate", "save", "weights", "parameters", "coefs_"])
def test_a_network_says_that_it_holds_no_numbers(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"no '{name}': it holds no numbers, so train it, model = cr\.fit"):
        getattr(cr.mlp([4, 3]), name)


def test_a_network_cannot_be_called_and_says_what_can() -> None:
    with pytest.raises(TypeError, match=r"a network cannot be called: .* model = cr\.fit\(.*model\(X\)"):
        cr.mlp([4, 3])(X)
    with pytest.raises(AttributeError, match=r"write model = cr\.fit\(network, X, y, loss=\.\.\.\)"):
        cr.mlp([4, 3]).fit(X, Y)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("weights", r'model\.parameters, and model\.parameters\["W1"\]'),
        ("coefs_", r'model\.parameters, and model\.parameters\["W1"\]'),
        ("state_dict", r'model\.parameters, and model\.parameters\["W1"\]'),
        ("layers", r"model\.network\.layers"),
        ("forward", r"model\(X\)"),
        ("score", r"model\.evaluate\(X, y\)"),
        ("fit", r"cr\.fit\(model, X, y"),
    ],
)
def test_a_model_says_where_it_has_it(name: str, says: str) -> None:
    model = trained(cr.mlp([4, 3]), Y, "softmax_cross_entropy")
    with pytest.raises(cr.MissingAttributeError, match=f"a Model has no '{name}': write {says}"):
        getattr(model, name)


def test_other_names_are_missed_as_python_misses_them() -> None:
    model = trained(cr.mlp([4, 3]), Y, "softmax_cross_entropy")
    for thing in (model, model.network):
        with pytest.raises(AttributeError, match="object has no attribute 'predicts'") as missed:
            thing.predicts  # noqa: B018
        assert (missed.value.name, missed.value.obj) == ("predicts", thing)  # by which Python finds what was meant
        assert not isinstance(missed.value, cr.ChainruleError)
        assert not hasattr(thing, "weights")
        assert not hasattr(thing, "__array__")
        assert copy.deepcopy(thing) == copy.copy(thing) == pickle.loads(pickle.dumps(thing)) == thing
    assert not hasattr(model.network, "theta")  # by which a model is told from a network


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: cr.backend("numpy", "float64"), r"backend takes 1 by position \(name\), got 2: name the others, d"),
        (lambda: cr.mlp(4, 8, 2), r"mlp takes 1 by position \(sizes\), got 3: name the others, activation="),
        (lambda: cr.Adam(1, 2, 3, 4, 5, 6), r"Adam takes 5 by position \(learning_rate, .*, got 6: leave the ot"),
        (lambda: cr.mlp([4, 2, 2], activation=None), "unknown activation None: write 'linear'"),
        (lambda: cr.Adam("cosine"), r"a number or a schedule, got 'cosine': write 0.001, or cr.CosineDecay\(0.001\)"),
        (lambda: cr.Adam(lambda t: 0.1), "a number or a schedule, got <function"),
        (lambda: cr.StepDecay(0.1, step_size=10), "StepDecay has no step_size: write every"),
        (lambda: cr.EarlyStopping("val_acc"), r"or is it 'val_accuracy'\?"),
        (lambda: fitted(cr.mlp([2, 1]), checkpoint=True), "a folder or a cr.Checkpoint as checkpoint, got True"),
        (lambda: fitted(cr.mlp([2, 1]), callbacks=[OneArgument()]), "on_epoch_end of OneArgument is called with"),
        (lambda: fitted(cr.mlp([2, 1])).save("model.pt"), r"a model file is .safetensors, got 'model.pt'"),
    ],
)  # fmt: skip
def test_a_slip_is_answered_in_a_sentence(call: Any, says: str) -> None:
    with pytest.raises(cr.ConfigurationError, match=says):
        call()


class OneArgument:
    def on_epoch_end(self, epoch: int) -> None: ...


def fitted(net: cr.Sequential, **options: Any) -> cr.Model:
    return cr.fit(net, [[0.0, 1.0]], [1.0], loss="squared_error", epochs=1, **options)


def test_metrics_without_a_validation_set_are_said_to_be_measured_nowhere() -> None:
    with pytest.warns(UserWarning, match="metrics are measured on a validation set, and there is none"):
        fitted(cr.mlp([2, 1]), metrics=["mae"])


def test_a_model_is_made_of_names_too() -> None:
    model = fitted(cr.mlp([2, 1]))
    assert cr.Model(model.network, model.theta, model.buffers, "squared_error", "numpy") == model  # type: ignore[arg-type]


def test_a_folder_of_a_run_is_loaded(tmp_path: Any) -> None:
    model = fitted(cr.mlp([2, 1]))
    model.save(tmp_path / "model.safetensors")
    assert cr.load(tmp_path) == model


def test_pythons_own_hint_knows_the_public_names() -> None:
    with pytest.raises(AttributeError) as caught:
        _ = cr.ReduceLROnPlateau
    assert (caught.value.name, caught.value.obj) == ("ReduceLROnPlateau", cr)


def test_arrays_by_name_compare_as_objects_do() -> None:
    model = fitted(cr.mlp([2, 1]))
    numbers = model.parameters
    assert numbers == numbers
    assert numbers in [numbers]
    assert numbers != {}


def test_jax_compiles_a_model_itself() -> None:
    jax = find_library("jax")
    X, y = [[0.0, 1.0], [1.0, 0.0]], [0, 2]
    model = cr.fit(cr.mlp([2, 3]), X, y, loss="softmax_cross_entropy", epochs=1, backend="jax")
    x = jax.numpy.asarray([[0.5, 0.5]])
    np.testing.assert_allclose(np.asarray(jax.jit(model)(x)), np.asarray(model(x)), rtol=1e-6)


def test_a_model_that_is_moved_keeps_how_it_runs() -> None:
    on = cr.backend("numpy", compile=False, deterministic=True, kernels=False)
    model = fitted(cr.mlp([2, 1]), backend=on)
    assert model.to("numpy").backend == on
    assert model.to(dtype="float64").backend == cr.backend(on, dtype="float64")
    there = model.to("array-api-strict").backend
    assert (there.kernels, there.deterministic) == (False, True)


def test_a_share_that_can_hold_out_no_row_says_so() -> None:
    with pytest.raises(cr.DataError, match=r"validation=0\.2 holds out no row: each class keeps one"):
        cr.fit(cr.mlp([1, 3]), [[0.0], [1.0], [2.0]], [0, 1, 2], loss="softmax_cross_entropy", validation=0.2)
