"""Bad input gets a clear error before anything is trained: what was expected, what came, and what to do."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from dataclasses import make_dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import Platform, find_library

import chainrule as cr
from chainrule._backend import LIBRARIES
from chainrule._base.options import check_numbers

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


def put(array: np.ndarray, value: Any, *rows: int) -> np.ndarray:
    """``array`` with ``value`` in these rows."""
    changed = array.copy()
    changed[list(rows), ...] = value
    return changed


BUILT_IN = {
    cr.ConfigurationError: ValueError,
    cr.DataError: ValueError,
    cr.DTypeError: TypeError,
    cr.BackendError: RuntimeError,
    cr.DeviceMemoryError: MemoryError,
    cr.MissingEntryError: KeyError,
    cr.MissingExtraError: ImportError,
    cr.DivergenceError: FloatingPointError,
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


def test_every_error_is_also_a_built_in() -> None:
    errors = {e for e in vars(cr).values() if isinstance(e, type) and issubclass(e, cr.ChainruleError)}
    assert errors == {*BUILT_IN, cr.ChainruleError}
    assert all(issubclass(error, built_in) for error, built_in in BUILT_IN.items())


# ------------------------------------------------------------------------------------------------------ X, y, weights

RANK = r"X must have shape \(rows, features\), got .*X\.reshape\(-1, 1\).*X\.reshape\(1, -1\)"
REAL = r"must hold real numbers, got "
ARRAYS = {
    "X of rank 1": Case(lambda: fit(X[0]), cr.DataError, RANK),
    "X of rank 3": Case(lambda: fit(X[None]), cr.DataError, RANK),
    "X one number": Case(lambda: fit(3.0), cr.DataError, RANK),
    "X of wrong width": Case(lambda: fit(X[:, :2]), cr.DataError, r"X must have 3 features, the network's .*, got 2"),
    "X empty": Case(lambda: fit(X[:0], Y[:0]), cr.DataError, r"X is empty: expected at least one row, got .*\(0, 3\)"),
    "X ragged": Case(lambda: fit([[1, 2, 3], [1, 2]], [1, 2]), cr.DataError, r"expected an array, got a list"),
    "X of objects": Case(
        lambda: fit(put(X.astype(object), {}, 2)), cr.DTypeError, rf"X {REAL}dict objects in column 0, such as \{{"
    ),
    "X of text": Case(
        lambda: fit(X.astype(str)), cr.DTypeError, rf"X {REAL}text in column 0, such as '{X[0, 0]}': enc"
    ),
    "X of complex numbers": Case(lambda: fit(X + 1j), cr.DTypeError, rf"X {REAL}dtype complex128.*(X\.real|real part)"),
    "X of dates": Case(lambda: fit(X.astype("M8[s]")), cr.DTypeError, rf"X {REAL}dates in column 0, such as .*T"),
    "X None": Case(lambda: fit(None), cr.DTypeError, r"X must be an array, a frame, or lists of numbers, got None\."),
    "X with NaN": Case(
        lambda: fit(put(X, np.nan, 3, 7)),
        cr.DataError,
        r"X holds NaN.* in 2 of 20 rows \(3, 7\): drop these rows or fill",
    ),
    "X with infinity": Case(lambda: fit(put(X, -np.inf, 4)), cr.DataError, r"X holds .*infin.* in 1 of 20 rows \(4\)"),
    "X with many NaN": Case(
        lambda: fit(put(X, np.nan, *range(9))), cr.DataError, r"in 9 of 20 rows \(0, 1, 2, 3, 4, \.\.\.\)"
    ),
    "X too large for float32": Case(
        lambda: fit(put(X, 1e300, 5)),
        cr.DataError,
        r"X holds .*float32.* in 1 of 20 rows \(5\).*(scale|dtype='float64')",
    ),
    "y shorter": Case(lambda: fit(y=Y[:5]), cr.DataError, r"X and y must have the same number of rows, got 20 and 5"),
    "y one number": Case(lambda: fit(y=3.0), cr.DataError, r"y must have one entry a row, got the single value 3\.0"),
    "y too wide": Case(lambda: fit(y=X), cr.DataError, r"y must have one column, .*, got shape \(20, 3\)"),
    "y too narrow": Case(lambda: fit(outputs=2), cr.DataError, r"y must have 2 columns, .* got shape \(20,\)"),
    "y of rank 3": Case(lambda: fit(y=Y.reshape(-1, 1, 1)), cr.DataError, r"y must have one column, .*\(20, 1, 1\)"),
    "y with NaN": Case(lambda: fit(y=put(Y, np.nan, 0)), cr.DataError, r"y holds NaN.* in 1 of 20 rows \(0\): drop"),
    "y with infinity": Case(lambda: fit(y=put(Y, np.inf, 2)), cr.DataError, r"y holds .*infin.* 1 of 20 rows \(2\)"),
    "y of text": Case(lambda: fit(y=Y.astype(str)), cr.DTypeError, f"y {REAL}text, such as '{Y[0]}'"),
    "labels of text": Case(
        lambda: classify(y=np.asarray(["a", "b"] * 10)),
        cr.DTypeError,
        r"got text, such as 'a': number the classes, .*np\.unique",
    ),
    "labels of objects": Case(
        lambda: classify(y=np.asarray(["a", "b"] * 10, dtype=object)), cr.DTypeError, r"text, such as 'a': .*np\.unique"
    ),
    "labels floats": Case(
        lambda: classify(y=LABELS * 1.0), cr.DTypeError, r"integers 0 to 2, got dtype float64: use y\.astype\(int\)"
    ),
    "labels that are not whole": Case(
        lambda: classify(y=LABELS + 0.5), cr.DTypeError, r"got dtype float64: 0\.5 is none; for numbers use loss="
    ),
    "labels with NaN": Case(
        lambda: classify(y=put(LABELS * 1.0, np.nan, 3)), cr.DataError, r"y holds NaN.* 1 of 20 rows \(3\): drop"
    ),
    "labels too large": Case(
        lambda: classify(y=LABELS + 1),
        cr.DataError,
        r"lie in 0 to 2.*, got 3 in row 2 \(6 rows in all\): use np\.unique",
    ),
    "labels negative": Case(
        lambda: classify(y=LABELS - 1), cr.DataError, r"lie in 0 to 2, .* got -1 in row 0 \(7 rows"
    ),
    "labels a matrix": Case(
        lambda: classify(y=np.zeros((20, 2), dtype=int)),
        cr.DataError,
        r"shape \(rows,\) or .*3 prob.*, got shape \(20, 2\)",
    ),
    "one class only": Case(lambda: classify(y=LABELS * 0 + 2), cr.DataError, r"two classes or more, got 2 in every"),
    "probabilities above 1": Case(
        lambda: classify(y=np.full((20, 3), 1.5)),
        cr.DataError,
        r"SoftmaxCrossEntropy needs targets in \[0, 1\], got .*1\.5",
    ),
    "sigmoid outside 0 to 1": Case(
        lambda: fit(y=LABELS, loss="sigmoid_cross_entropy"), cr.DataError, r"needs targets in \[0, 1\], got .* 0 to 2"
    ),
    "negative counts": Case(
        lambda: fit(y=LABELS - 1, loss="poisson"), cr.DataError, r"Poisson needs targets >= 0, got -1"
    ),
    "weights negative": Case(
        lambda: fit(sample_weight=Y), cr.DataError, r"sample_weight must be >= 0 and not all 0, got values from -"
    ),
    "weights all zero": Case(
        lambda: fit(sample_weight=np.zeros(20)), cr.DataError, r">= 0 and not all 0, got values from 0 to 0"
    ),
    "weights that round to 0": Case(
        lambda: fit(sample_weight=np.full(20, 1e-50)), cr.DataError, r"must sum to 1e-19 to 2e\+19 in float32, got 20"
    ),
    "weights with NaN": Case(
        lambda: fit(sample_weight=put(np.ones(20), np.nan, 6)), cr.DataError, r"sample_weight holds NaN.* \(6\)"
    ),
    "weights too few": Case(
        lambda: fit(sample_weight=np.ones(5)), cr.DataError, r"sample_weight must have shape \(20,\), .* got \(5,\)"
    ),
    "weights a matrix": Case(lambda: fit(sample_weight=X), cr.DataError, r"must have shape \(20,\), .* got \(20, 3\)"),
    "validation a share": Case(
        lambda: fit(validation=0.2),
        cr.ConfigurationError,
        r"validation must be \(X, y\) or \(X, y, sample_weight\), got 0\.2",
    ),
    "validation X alone": Case(lambda: fit(validation=(X,)), cr.ConfigurationError, r"validation must be \(X, y\)"),
    "validation of wrong width": Case(
        lambda: fit(validation=(X[:, :1], Y)), cr.DataError, r"the validation X must have 3 features, .* got 1"
    ),
    "validation shorter": Case(
        lambda: fit(validation=(X, Y[:3])), cr.DataError, r"the validation X and y must have .* rows, got 20 and 3"
    ),
    "validation labels": Case(
        lambda: classify(validation=(X, LABELS + 9)), cr.DataError, r"lie in 0 to 2, .* got 9 in row 0"
    ),
    "predict another width": Case(
        lambda: fit().predict(X[:, :2]), cr.DataError, r"X must have 3 features, the network's inputs, got 2"
    ),
    "predict one example": Case(lambda: fit().predict(X[0]), cr.DataError, r"got \(3,\).* for one example X\.reshape"),
    "predict NaN": Case(lambda: fit().predict(put(X, np.nan, 1)), cr.DataError, r"X holds NaN.* \(1\)"),
}


@pytest.mark.parametrize("case", ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_cannot_be_trained_on(case: Case) -> None:
    check(case)


NUMPY_SIZES = [("numpy", size) for size in (1e36, 1e19, 1e-21, 1e-37)]
LIBRARY_SIZES = [(id, size) for id in ("numpy", "torch", "jax-jit", "strictest-float32") for size in (3e38, 1e-43)]


@pytest.mark.parametrize(("id", "size"), NUMPY_SIZES + LIBRARY_SIZES)
def test_weights_whose_sums_leave_the_dtype_are_refused(
    id: str, size: float, open_platform: Callable[..., Platform]
) -> None:
    place = open_platform(id).array
    x, y, weight = place(X), place(Y), place(np.full(20, size))
    says = r"sample_weight must sum to 1e-19 to 2e\+19 in float32, got 20 weights up to .*: divide them by their mean"
    model = fit(x, y)
    check(Case(lambda: fit(x, y, sample_weight=weight), cr.DataError, says))
    check(Case(lambda: fit(x, y, validation=(x, y, weight)), cr.DataError, says))
    check(Case(lambda: model.evaluate(x, y, weight), cr.DataError, says))
    check(Case(lambda: cr.fit(model, lambda: iter([(x, y, weight)])), cr.DataError, says))


def test_weights_of_any_size_that_is_taken_give_the_same_model() -> None:
    usual, weight = {"epochs": 3, "batch_size": 6}, np.arange(20) % 3 + 0.5
    want = fit(sample_weight=weight, **usual)
    for scale in (2.0**-60, 2.0**55):  # powers of two, which change no digit
        model = fit(sample_weight=scale * weight, **usual)
        assert model.theta.tolist() == want.theta.tolist()
        assert model.history["loss"] == want.history["loss"]
        assert model.evaluate(X, Y, scale * weight) == want.evaluate(X, Y, weight)
    double = fit(sample_weight=1e25 * weight, dtype="float64", **usual)
    assert double.history["loss"] == pytest.approx(want.history["loss"])


@pytest.mark.parametrize("id", ["numpy", "torch", "jax-jit", "strictest-float32"])
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile", "poisson"])
def test_targets_too_large_to_be_squared_are_named(id: str, loss: str, open_platform: Callable[..., Platform]) -> None:
    place = open_platform(id).array
    x, y, large = place(X), place(np.abs(Y)), place(1e30 * np.abs(Y))
    reach = f"{1e30 * np.abs(Y).max():.3g}".replace("+", r"\+")
    says = (
        rf"the targets reach {reach}, too large to add up their squares in float32: scale y, or use dtype='float64'\.$"
    )
    model = fit(x, y, loss=loss)
    check(Case(lambda: fit(x, large, loss=loss), cr.DataError, says))
    check(Case(lambda: fit(x, y, loss=loss, validation=(x, large)), cr.DataError, says))
    check(Case(lambda: model.evaluate(x, large), cr.DataError, says))


def test_targets_too_large_beside_their_weights_or_for_float64_are_named() -> None:
    weighted = r"the targets reach .*e\+12, too large to add up their weighted squares in float32: scale y, or use"
    check(Case(lambda: fit(y=1e12 * Y, sample_weight=np.full(20, 1e16)), cr.DataError, weighted))
    check(Case(lambda: fit(y=1e160 * Y, dtype="float64"), cr.DataError, r"their squares in float64: scale y\.$"))
    assert np.isfinite(fit(y=1e30 * Y, dtype="float64").history["loss"][0])  # as told


@pytest.mark.parametrize("id", ["torch", "jax-jit", "strictest-float32"])
def test_the_checks_see_any_library_and_device(id: str, open_platform: Callable[..., Platform]) -> None:
    platform = open_platform(id)
    place = platform.array
    bad = put(X, np.nan, 3, 7), put(Y, np.inf, 4), put(np.ones(20), -1.0, 5)
    for data, says in (
        ((place(bad[0]), place(Y)), r"X holds NaN .* in 2 of 20 rows \(3, 7\)"),
        ((place(X), place(bad[1])), r"y holds NaN or infinity .* in 1 of 20 rows \(4\)"),
        ((place(X), place(Y), place(bad[2])), r"sample_weight must be >= 0 .* from -1 to 1"),
    ):
        check(Case(lambda data=data: fit(*data[:2], sample_weight=(*data, None)[2]), cr.DataError, says))
    labels = platform.backend.asarray(LABELS + 1, platform.backend.xp.int32)
    check(Case(lambda: classify(place(X), labels), cr.DataError, r"got 3 in row 2 \(6 rows in all\)"))
    check(Case(lambda: classify(place(X), place(LABELS * 1.0)), cr.DTypeError, r"got dtype .*float32: use"))


@pytest.mark.parametrize("id", ["torch", "jax-jit", "strictest-float32"])
def test_mixed_libraries_are_refused(id: str, open_platform: Callable[..., Platform]) -> None:
    platform = open_platform(id)
    here, library = platform.array, platform.backend.name
    says = rf"X, y and sample_weight must lie in one library and on one device, got {library} on .* and numpy on cpu"
    check(Case(lambda: fit(here(X), Y), cr.DataError, says))
    check(Case(lambda: fit(here(X), here(Y), sample_weight=np.ones(20)), cr.DataError, says))


TENSORS = {
    "sparse": (
        lambda t: t.to_sparse(),
        r"expected a dense tensor, got one of layout torch\.sparse_coo: use x\.to_dense",
    ),
    "on the meta device": (lambda t: t.to("meta"), r"expected a tensor with numbers, got one on the meta device"),
}


@pytest.mark.parametrize(("change", "says"), TENSORS.values(), ids=TENSORS)
def test_tensors_whose_numbers_are_not_in_memory_are_refused(change: Callable[[Any], Any], says: str) -> None:
    torch = find_library("torch")
    x, y, labels = torch.tensor(X), torch.tensor(Y), torch.tensor(LABELS)
    model = fit(x, y)
    for make in (
        lambda: fit(change(x), y),
        lambda: fit(x, change(y)),
        lambda: fit(x, y, sample_weight=change(torch.ones(20))),
        lambda: classify(x, change(labels)),
        lambda: classify(change(x), labels, backend="numpy"),
        lambda: model.predict(change(x)),
        lambda: MODEL.predict(change(x)),
    ):
        check(Case(make, cr.DataError, says))


def test_lists_of_tensors_that_want_gradients_are_refused() -> None:
    torch = find_library("torch")
    rows, numbers = (list(torch.tensor(x).requires_grad_()) for x in (X, Y))
    says = r"expected an array, got a list that NumPy cannot read \(.*\.detach\(\)"
    for make in (
        lambda: fit(rows),
        lambda: fit(y=numbers),
        lambda: fit(sample_weight=numbers),
        lambda: MODEL.predict(rows),
    ):
        check(Case(make, cr.DataError, says))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_labels_of_a_float_dtype_are_refused(dtype: str) -> None:
    torch = find_library("torch")
    labels = torch.tensor(LABELS).to(getattr(torch, dtype))
    says = rf"class indices must be integers 0 to 2, got dtype torch\.{dtype}"
    check(Case(lambda: classify(torch.tensor(X), labels), cr.DTypeError, says))


def test_mixed_devices_are_refused(open_platform: Callable[..., Platform]) -> None:
    near, far = open_platform("strictest-float32"), open_platform("strictest-float32", device="device2")
    says = r"in one library and on one device, got array-api-strict on .*device1.* and array-api-strict on .*device2"
    check(Case(lambda: fit(near.array(X), far.array(Y)), cr.DataError, says))


# ------------------------------------------------------------------------------------------------------------- options


MODEL = fit()
OPTIONS = {
    "epochs 0": Case(lambda: fit(epochs=0), cr.ConfigurationError, r"epochs must be a whole number >= 1, got 0"),
    "epochs 1.5": Case(lambda: fit(epochs=1.5), cr.ConfigurationError, r"epochs must be a whole number >= 1, got 1\.5"),
    "batch size 0": Case(lambda: fit(batch_size=0), cr.ConfigurationError, r"batch_size must be .* >= 1, got 0"),
    "batch size -1": Case(lambda: fit(batch_size=-1), cr.ConfigurationError, r"batch_size must be .* >= 1, got -1"),
    "batch size 2.5": Case(lambda: fit(batch_size=2.5), cr.ConfigurationError, r"a whole number >= 1, got 2\.5"),
    "seed -1": Case(lambda: fit(seed=-1), cr.ConfigurationError, r"seed must be a whole number >= 0, got -1"),
    "no loss": Case(
        lambda: fit(loss=None), cr.ConfigurationError, r"needs loss=.*'softmax_cross_entropy' for .*'squared_error' for"
    ),
    "no network": Case(lambda: fit(network="mlp"), cr.ConfigurationError, r"network \(cr\.mlp, .*Model, got 'mlp'"),
    "loss unknown": Case(lambda: fit(loss="sqared_error"), cr.ConfigurationError, r"unknown loss.*'squared_error'\?"),
    "optimizer unknown": Case(lambda: fit(optimizer="adm"), cr.ConfigurationError, r"unknown optimizer.*'adam'\?"),
    "metric unknown": Case(lambda: fit(metrics=["acuracy"]), cr.ConfigurationError, r"unknown metric.*'accuracy'\?"),
    "backend unknown": Case(lambda: fit(backend="tourch"), cr.ConfigurationError, r"unknown backend.*'torch'\?"),
    "activation unknown": Case(
        lambda: cr.mlp([3, 4, 1], activation="rellu"), cr.ConfigurationError, r"unknown activation 'rellu': .*'relu'\?"
    ),
    "activation in capitals": Case(
        lambda: cr.mlp([3, 4, 1], activation="ReLU"), cr.ConfigurationError, r"unknown activation 'ReLU': .*'relu'\?"
    ),
    "output unknown": Case(
        lambda: cr.mlp([3, 1], output="sigmoyd"), cr.ConfigurationError, r"unknown activation .*'sigmoid'\?"
    ),
    "initializer unknown": Case(
        lambda: cr.mlp([3, 1], weight_init="he_norml"), cr.ConfigurationError, r"unknown initializer .*'he_normal'\?"
    ),
    "normalization unknown": Case(
        lambda: cr.mlp([3, 4, 1], normalization="bach"),  # type: ignore[arg-type]
        cr.ConfigurationError,
        r"unknown normalization 'bach': did you mean 'batch'\?",
    ),
    "no name near": Case(
        lambda: fit(loss="zzz"), cr.ConfigurationError, r"unknown loss 'zzz': Known: absolute_error, "
    ),
    "loss a number": Case(lambda: fit(loss=3), cr.ConfigurationError, r"expected a loss, .*, got 3: .*cr\.Loss\(f\)"),
    "optimizer a number": Case(lambda: fit(optimizer=0.1), cr.ConfigurationError, r", got 0\.1: .*cr\.Adam\(1e-3\)"),
    "activation a number": Case(
        lambda: cr.Sequential(cr.Dense(3, 1), 5),  # type: ignore[arg-type]
        cr.ConfigurationError,
        r"expected an activation, .*, got 5: .*cr\.Activation\(f, df\)",
    ),
    "metric no function": Case(lambda: fit(metrics=[3]), cr.ConfigurationError, r"a metric is a name or .*, got 3"),
    "metric of our name": Case(
        lambda: fit(metrics=[type("mse", (), {"__call__": None})()]), cr.ConfigurationError, r"'mse'.*: rename"
    ),
    "dtype unknown": Case(
        lambda: fit(dtype="float16"), cr.DTypeError, r"must be 'float32' or 'float64', got 'float16'"
    ),
    "softmax over one output": Case(
        lambda: classify(outputs=1), cr.ConfigurationError, r"one output is always 1: .*loss='sigmoid_cross_entropy'"
    ),
    "another loss for a model": Case(
        lambda: fit(network=MODEL, loss="huber"),
        cr.ConfigurationError,
        r"SquaredError\(\), got loss='huber': leave loss",
    ),
    "probabilities of numbers": Case(
        lambda: MODEL.predict_proba(X), cr.ConfigurationError, r"numbers, not probabilities: use predict\(X\), or train"
    ),
    "the step function trained": Case(
        lambda: fit(network=cr.mlp([3, 4, 1], activation="step")),
        cr.ConfigurationError,
        r"step.*: train with .*'sigmoid'",
    ),
    "batch norm on one row": Case(
        lambda: fit(X[:1], Y[:1], network=cr.mlp([3, 4, 1], normalization="batch")),
        cr.ConfigurationError,
        r"cannot train on a batch of one row .*: use a larger batch_size",
    ),
}

SQUASHED = r"the output would be squashed twice\. Leave the last activation out, or choose a loss whose link is "
OPTIONS |= {
    f"{output} under {loss}": Case(
        lambda output=output, loss=loss, n=n: fit(y=LABELS, network=cr.mlp([3, n], output=output), loss=loss),
        cr.ConfigurationError,
        f"the network ends in {output} and the loss .*: {SQUASHED}{output}",
    )
    for output, loss, n in [
        ("softmax", "sigmoid_cross_entropy", 3),
        ("sigmoid", "softmax_cross_entropy", 3),
        ("exponential", "softmax_cross_entropy", 3),
        ("sigmoid", "poisson", 1),
    ]
}
OPTIONS["softmax twice"] = Case(
    lambda: classify(network=cr.Sequential(cr.Dense(3, 3), cr.Softmax(), cr.Softmax())), cr.ConfigurationError, SQUASHED
)


@pytest.mark.parametrize("case", OPTIONS.values(), ids=OPTIONS)
def test_options_that_cannot_be(case: Case) -> None:
    check(case)


def number(make: Callable[[], Any], says: str) -> Case:
    return Case(make, cr.ConfigurationError, says)


RATE = r"a learning rate must be a finite number >= 0, got "
NUMBERS = {
    "rate negative": number(lambda: cr.Adam(-1e-3), RATE + r"-0\.001"),
    "rate infinite": number(lambda: cr.SGD(float("inf")), RATE + "inf"),
    "rate NaN": number(lambda: cr.SGD(float("nan")), "learning_rate must be a number, got nan"),
    "rate a word": number(lambda: cr.SGD("fast"), "learning_rate must be a number, got 'fast'"),  # type: ignore[arg-type]
    "schedule's rate negative": number(lambda: cr.CosineDecay(-0.1), RATE + r"-0\.1"),
    "b1 of 1": number(lambda: cr.Adam(b1=1.0), r"b1 must be in \[0, 1\), got 1\.0"),
    "b2 negative": number(lambda: cr.AdamW(b2=-0.1), r"b2 must be in \[0, 1\), got -0\.1"),
    "b2 of Lion": number(lambda: cr.Lion(b2=2.0), r"b2 must be in \[0, 1\), got 2\.0"),
    "mu of 1": number(lambda: cr.Momentum(mu=1.0), r"mu must be in \[0, 1\), got 1\.0"),
    "mu of a velocity": number(lambda: cr.VelocityMomentum(mu=1.5), r"mu must be in \[0, 1\], got 1\.5"),
    "beta negative": number(lambda: cr.AveragedMomentum(beta=-1.0), r"beta must be in \[0, 1\), got -1\.0"),
    "rho of 1": number(lambda: cr.RMSProp(rho=1.0), r"rho must be in \[0, 1\), got 1\.0"),
    "epsilon 0": number(lambda: cr.Adam(epsilon=0.0), r"epsilon must be a finite number > 0, got 0\.0"),
    "decay negative": number(lambda: cr.AdamW(decay=-0.1), r"decay must be a finite number >= 0, got -0\.1"),
    "clip at 0": number(lambda: cr.ClipNorm(0.0), r"bound must be a finite number > 0, got 0\.0"),
    "clip value negative": number(lambda: cr.ClipValue(-1.0), r"bound must be a finite number > 0, got -1\.0"),
    "l2 negative": number(lambda: cr.Penalty(l2=-1.0), r"l1 and l2 must be >= 0, got 0\.0 and -1\.0"),
    "penalty over what": number(lambda: cr.Penalty(over="rows"), r"'cost' or 'examples', got 'rows'"),  # type: ignore[arg-type]
    "dropout 1": number(lambda: cr.mlp([3, 4, 1], dropout=1.0), r"Dropout: rate must be in \[0, 1\), got 1\.0"),
    "dropout almost 1": number(lambda: cr.Dropout(0.9999999), r"Dropout: rate 0\.9999999 would drop everything"),
    "dropout negative": number(lambda: cr.mlp([3, 4, 1], dropout=-0.1), r"must be in \[0, 1\), got -0\.1"),
    "momentum of batch norm": number(lambda: cr.BatchNorm(3, momentum=0.0), r"momentum must be in \(0, 1\], got 0\.0"),
    "smoothing of 1": number(lambda: cr.SoftmaxCrossEntropy(1.0), r"label_smoothing must be in \[0, 1\), got 1\.0"),
    "delta 0": number(lambda: cr.Huber(0.0), r"delta must be > 0, got 0\.0"),
    "q of 1": number(lambda: cr.Quantile(1.0), r"q must lie between 0 and 1, got 1\.0"),
    "warm-up longer than all": number(
        lambda: cr.CosineDecay(0.1, warmup=9, steps=9), r"exceed the warm-up \(9\), got 9"
    ),
    "step every 0": number(lambda: cr.StepDecay(0.1, every=0), r"every must be at least 1 step, got 0"),
    "rise of 1": number(lambda: cr.OneCycle(0.1, rise=1.0), r"rise must lie between 0 and 1, got 1\.0"),
    "spread negative": number(lambda: cr.Normal(std=-1.0), r"std must be >= 0, got -1\.0"),
    "low above high": number(lambda: cr.Uniform(1.0, 0.0), r"low must be <= high, both finite, got 1\.0 and 0\.0"),
    "scale 0": number(lambda: cr.VarianceScaling(0.0), r"scale must be a finite number > 0, got 0\.0"),
    "patience 0": number(lambda: cr.EarlyStopping(patience=0), r"patience must be a whole number >= 1, got 0"),
    "min_delta negative": number(lambda: cr.EarlyStopping(min_delta=-1.0), r"min_delta must be >= 0, got -1\.0"),
    "factor of 1": number(lambda: cr.ReduceOnPlateau(factor=1.0), r"factor must lie between 0 and 1, got 1\.0"),
    "width 0": number(lambda: cr.mlp([3, 0, 1]), r"Dense: n_out must be a whole number >= 1, got 0"),
    "width 2.5": number(lambda: cr.mlp([3, 2.5, 1]), r"Dense: n_out must be a whole number, got 2\.5"),  # type: ignore[list-item]
    "one size": number(lambda: cr.mlp([3]), r"at least an input and an output width, got \[3\]"),
    "no Dense": number(lambda: cr.Sequential(cr.ReLU()), r"needs at least one Dense layer"),
    "no layer": number(lambda: cr.Sequential(), r"needs at least one Dense layer"),
    "widths that do not fit": number(
        lambda: cr.Sequential(cr.Dense(3, 4), cr.ReLU(), cr.Dense(5, 1)),
        r"layer 3 of 3 does not fit: Dense\(5, 1\) needs 5 inputs, got 4",
    ),
    "a norm that does not fit": number(
        lambda: cr.Sequential(cr.Dense(3, 4), cr.BatchNorm(3), cr.Dense(4, 1)),
        r"layer 2 of 3 does not fit: BatchNorm\(3\) needs 3 inputs, got 4",
    ),
}


@pytest.mark.parametrize("case", NUMBERS.values(), ids=NUMBERS)
def test_numbers_that_cannot_be(case: Case) -> None:
    check(case)


def through(activation: Any) -> cr.Sequential:
    return cr.Sequential(cr.Dense(3, 4), activation, cr.Dense(4, 1))


# Numbers that float64 holds and float32 does not: their field is named, on every library alike.
BEYOND = {
    "a rate": ({"optimizer": cr.SGD(1e300)}, r"SGD: learning_rate .*got 1e\+300"),
    "a schedule": (
        {"optimizer": cr.Adam(cr.StepDecay(0.1, every=9, factor=1e-300))},
        r"StepDecay: factor .*got 1e-300",
    ),
    "an epsilon": ({"optimizer": cr.Adam(epsilon=1e-44)}, r"Adam: epsilon .*from 1\.18e-38 to 3\.4e\+38 .*got 1e-44"),
    "a bound of the norm": ({"clip": cr.ClipNorm(1e39)}, r"ClipNorm: bound .*got 1e\+39"),
    "a bound of values": ({"clip": cr.ClipValue(1e300)}, r"ClipValue: bound .*got 1e\+300"),
    "a penalty": ({"penalty": cr.Penalty(l2=1e39)}, r"Penalty: l2 .*got 1e\+39"),
    "a loss": ({"loss": cr.Huber(1e39)}, r"Huber: delta .*got 1e\+39"),
    "a slope": ({"network": through(cr.LeakyReLU(-1e300))}, r"LeakyReLU: alpha .*got -1e\+300"),
    "a layer": ({"network": through(cr.BatchNorm(4, epsilon=1e-44))}, r"BatchNorm: epsilon .*got 1e-44"),
    "a coefficient": ({"network": through(cr.Polynomial((0.0, 1e300)))}, r"Polynomial: coefficients .*got 1e\+300"),
}


@pytest.mark.parametrize(("options", "says"), BEYOND.values(), ids=BEYOND)
@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_a_number_that_float32_cannot_hold_is_refused(library: str, options: dict[str, Any], says: str) -> None:
    find_library(library)
    check(number(lambda: fit(backend=library, **options), rf"^{says}: .*dtype='float64'\.$"))


def test_what_float64_holds_is_taken_there() -> None:
    free = fit(dtype="float64")
    assert fit(dtype="float64", clip=cr.ClipNorm(1e39)) == free
    assert fit(dtype="float64", clip=cr.ClipNorm(1e300)) == free
    assert fit(dtype="float64", optimizer=cr.Adam(epsilon=1e-44)) != free
    says = (
        r"epsilon must be 0 or of a size from 2\.23e-308 to 1\.8e\+308 in float64, got 1e-310: give another number\.$"
    )
    check(number(lambda: fit(dtype="float64", optimizer=cr.Adam(epsilon=1e-310)), says))


def test_an_infinite_number_is_no_number_that_is_too_large() -> None:
    assert np.isfinite(fit(loss=cr.Huber(float("inf"))).history["loss"]).all()


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("std", [1e300, float("inf")])
def test_first_weights_that_float32_cannot_hold_are_refused(library: str, std: float) -> None:
    find_library(library)
    net = cr.mlp([3, 1], weight_init=cr.Normal(std))
    check(number(lambda: fit(network=net, backend=library), r"first weights must be finite in float32.* smaller"))


OWN = {
    "of wrong shape": (lambda xp, z: z[:, :1], r"\(20, 1\) and (torch\.)?float32"),
    "of wrong dtype": (lambda xp, z: xp.astype(z, xp.float64), r"\(20, 4\) and (torch\.)?float64"),
    "that is a number": (lambda xp, z: 1.0, "float"),
    "that is nothing": (lambda xp, z: None, "NoneType"),
}


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize(("wrong", "got"), OWN.values(), ids=OWN)
def test_an_activation_that_returns_something_else_is_refused(library: str, wrong: Any, got: str) -> None:
    find_library(library)
    says = rf"your activation must return an array of z's shape \(20, 4\) and dtype (torch\.)?float32, got {got}\.$"
    for own in (cr.Activation(wrong, lambda xp, z: z), cr.Activation(lambda xp, z: z, wrong)):
        check(number(lambda own=own: fit(network=through(own), backend=library), says))


# A class where an instance is meant, one where a list is meant, a number where an object is meant: each is one key away
# from right, and the message names that key.
ALMOST = {
    "an activation's class": number(lambda: fit(network=cr.Sequential(cr.Dense(3, 1), cr.ReLU)), r"ReLU\(\)"),  # type: ignore[arg-type]
    "a layer's class": number(lambda: fit(network=cr.Sequential(cr.Dense(3, 1), cr.Dropout)), r"Dropout\("),  # type: ignore[arg-type]
    "an optimizer's class": number(lambda: fit(optimizer=cr.Adam), r"Adam\("),
    "a loss's class": number(lambda: fit(loss=cr.SquaredError), r"SquaredError\("),
    "an initializer's class": number(lambda: cr.Dense(3, 1, weight_init=cr.Normal), r"Normal\("),  # type: ignore[arg-type]
    "an initializer's function": number(lambda: cr.Dense(3, 1, weight_init=cr.he_normal), r"he_normal"),  # type: ignore[arg-type]
    "a callback's class": number(lambda: fit(callbacks=[cr.EarlyStopping]), r"EarlyStopping\("),
    "one callback": number(lambda: fit(callbacks=cr.EarlyStopping("loss")), r"callbacks.*list"),
    "one metric": number(lambda: fit(metrics="mse", validation=(X, Y)), r"metrics.*\['mse'\]"),
    "a penalty's strength": number(lambda: fit(penalty=0.1), r"penalty.* got 0\.1.*cr\.Penalty\("),
    "a bound to clip at": number(lambda: fit(clip=1.0), r"clip.* got 1\.0.*cr\.ClipNorm\("),
    "one width": number(lambda: cr.mlp(3), r"sizes.* got 3"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", ALMOST.values(), ids=ALMOST)
def test_what_is_one_key_away_from_right_names_the_key(case: Case) -> None:
    check(case)


def test_numpy_numbers_are_numbers() -> None:
    classes = np.max(LABELS) + 1  # what people write
    net = cr.mlp([np.int64(3), classes])  # type: ignore[list-item]
    options: dict[str, Any] = {"epochs": np.int64(1), "batch_size": np.int32(7), "seed": np.int64(0)}
    got = classify(network=net, optimizer=cr.SGD(np.float32(0.5)), **options)
    assert got == classify(network=cr.mlp([3, 3]), optimizer=cr.SGD(0.5), batch_size=7)


def test_options_of_a_module_that_keeps_annotations_as_types_are_checked_too() -> None:
    fields: list[Any] = [("count", int), ("most", int | None), ("rate", float), ("on", bool)]
    options = make_dataclass("Options", fields, frozen=True, namespace={"__post_init__": check_numbers})
    made: Any = options(np.int64(2), None, np.float32(0.5), True)
    assert [type(value) for value in vars(made).values()] == [int, type(None), float, bool]
    with pytest.raises(cr.ConfigurationError, match=r"Options: count must be a whole number, got 2\.5"):
        options(2.5, None, 0.5, True)
    with pytest.raises(cr.ConfigurationError, match=r"Options: rate must be a number, got '0\.5'"):
        options(2, None, "0.5", True)


def test_a_batch_size_above_the_data_is_the_data_and_said_once() -> None:
    with pytest.warns(UserWarning, match=r"batch_size 100 is more than the 20 rows there are: .* all of them") as seen:
        model = fit(batch_size=100, epochs=3)
    assert [w.filename for w in seen] == [__file__]  # it points to the caller's line
    assert model == fit(batch_size=20, epochs=3)


# ------------------------------------------------------------------------------------------------ libraries and devices


@pytest.mark.parametrize("library", [name for name in LIBRARIES if name != "cupy"])
@pytest.mark.parametrize("device", [99, "gpu:99"])
def test_a_device_that_does_not_exist_is_answered_with_those_that_do(library: str, device: Any) -> None:
    find_library(library, {"array-api-strict": "array_api_strict"}.get(library))
    says = rf"has no device {device!r} on this machine; it has .*cpu"
    check(Case(lambda: fit(backend=library, device=device), cr.BackendError, f"(?i){says}"))


@pytest.mark.parametrize("device", ["meta", "xpu", "cuda:99"])
def test_a_device_of_torch_without_memory_here_is_refused(device: str) -> None:
    find_library("torch")
    says = rf"PyTorch has no device '{device}' on this machine; it has .*cpu"
    check(Case(lambda: fit(backend="torch", device=device), cr.BackendError, says))


def test_jax_without_x64_says_how_to_get_it() -> None:
    says = r"jax on .* has no float64: call jax\.config\.update\('jax_enable_x64', True\) before any array is made"
    with find_library("jax").enable_x64(False):
        check(Case(lambda: fit(backend="jax", dtype="float64"), cr.DTypeError, says))


def test_a_device_without_float64_says_so() -> None:
    find_library("array-api-strict", "array_api_strict")
    options = {"backend": "array-api-strict", "device": "no_float64", "dtype": "float64"}
    check(Case(lambda: fit(**options), cr.DTypeError, r"has no float64: use dtype='float32' or another device"))


@pytest.mark.parametrize(
    ("library", "module", "says"),
    [
        ("torch", "torch", r"PyTorch is not installed: pip install 'chainrule\[torch\]'"),
        (
            "jax",
            "jax.numpy",
            r"JAX is (not installed|installed but cannot be imported.*): pip install 'chainrule\[jax\]'",
        ),
        ("cupy", "cupy", r"CuPy is not installed: pip install 'chainrule\[cuda1[23]\]'"),
    ],
)
def test_a_library_that_is_not_installed_says_how_to_get_it(
    library: str, module: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not there
    check(Case(lambda: fit(backend=library), cr.BackendError, says))


def test_cupy_that_cannot_run_here_says_why_in_one_sentence() -> None:
    problem = next(row["problem"] for row in cr.available_backends() if row["name"] == "cupy")
    if problem is None:
        pytest.skip("a CUDA device exists")
    check(
        Case(lambda: fit(backend="cupy"), cr.BackendError, r"^CuPy .*(not installed|no CUDA device|CUDA library).*\.$")
    )


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (
            "cudaErrorInsufficientDriver: CUDA driver version is insufficient",
            r"no NVIDIA driver was found, install one",
        ),
        (
            "cudaErrorNoDevice: no CUDA-capable device is detected",
            r"the driver lists none \(see nvidia-smi and CUDA_VIS",
        ),
        ("cudaErrorUnknown: unknown error", r"the CUDA runtime refused: cudaErrorUnknown"),
    ],
)
def test_cupy_without_a_device_says_what_the_driver_said(
    refusal: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CUDARuntimeError(RuntimeError):
        pass

    def refuse() -> int:
        raise CUDARuntimeError(refusal)

    versions = {"driverGetVersion": lambda: 0, "runtimeGetVersion": lambda: 13000}
    runtime = types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError, getDeviceCount=refuse, **versions)
    cuda, ndarray = types.SimpleNamespace(runtime=runtime), type("ndarray", (), {})
    cupy = types.SimpleNamespace(__version__="14.2", cuda=cuda, ndarray=ndarray)
    monkeypatch.setitem(sys.modules, "cupy", cupy)  # type: ignore[arg-type]
    check(Case(lambda: fit(backend="cupy"), cr.BackendError, rf"CuPy 14\.2 is installed but .*{says}"))


def test_every_backend_is_listed_with_the_reason_why_it_cannot_run() -> None:
    rows = {row["name"]: row for row in cr.available_backends()}
    assert set(rows) == set(LIBRARIES)
    assert rows["numpy"] == {"name": "numpy", "version": np.__version__, "devices": ["cpu"], "problem": None}
    for row in rows.values():
        assert (row["devices"] == []) == (row["problem"] is not None)
        assert "\n" not in str(row["problem"])
