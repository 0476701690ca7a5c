"""Arrays that cannot be trained on get a clear error before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bad_case import LABELS, MODEL, Case, X, Y, check, classify, fit
from conftest import Platform, find_library

import chainrule as cr

DOUBLE = cr.backend("numpy", dtype="float64")


def put(array: np.ndarray, value: Any, *rows: int) -> np.ndarray:
    """``array`` with ``value`` in these rows."""
    changed = array.copy()
    changed[list(rows), ...] = value
    return changed


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
    "validation more than all": Case(
        lambda: fit(validation=1.2),
        cr.ConfigurationError,
        r"validation must be \(X_val, y_val\), or a share of the rows above 0 and below 1, got 1\.2",
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
    double = fit(sample_weight=1e25 * weight, backend=DOUBLE, **usual)
    assert double.history["loss"] == pytest.approx(want.history["loss"])


@pytest.mark.parametrize("id", ["numpy", "torch", "jax-jit", "strictest-float32"])
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile", "poisson"])
def test_targets_too_large_to_be_squared_are_named(id: str, loss: str, open_platform: Callable[..., Platform]) -> None:
    place = open_platform(id).array
    x, y, large = place(X), place(np.abs(Y)), place(1e30 * np.abs(Y))
    reach = f"{1e30 * np.abs(Y).max():.3g}".replace("+", r"\+")
    says = rf"the targets reach {reach}, too large to add up their squares in float32: scale y, or use float64, .*\)\.$"
    model = fit(x, y, loss=loss)
    check(Case(lambda: fit(x, large, loss=loss), cr.DataError, says))
    check(Case(lambda: fit(x, y, loss=loss, validation=(x, large)), cr.DataError, says))
    check(Case(lambda: model.evaluate(x, large), cr.DataError, says))


def test_targets_too_large_beside_their_weights_or_for_float64_are_named() -> None:
    weighted = r"the targets reach .*e\+12, too large to add up their weighted squares in float32: scale y, or use"
    check(Case(lambda: fit(y=1e12 * Y, sample_weight=np.full(20, 1e16)), cr.DataError, weighted))
    check(Case(lambda: fit(y=1e160 * Y, backend=DOUBLE), cr.DataError, r"their squares in float64: scale y\.$"))
    assert np.isfinite(fit(y=1e30 * Y, backend=DOUBLE).history["loss"][0])  # as told


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
