"""Options that cannot be get a clear error before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import make_dataclass
from typing import Any

import bad_case
import numpy as np
import pytest
from bad_case import BUILT_IN, LABELS, MODEL, Case, X, Y, check, classify, fit
from conftest import find_library

import chainrule as cr
from chainrule._base.options import check_numbers


def test_every_error_is_also_a_built_in() -> None:
    errors = {e for e in vars(cr).values() if isinstance(e, type) and issubclass(e, cr.ChainruleError)}
    assert errors == {*BUILT_IN, cr.ChainruleError}
    assert all(issubclass(error, built_in) for error, built_in in BUILT_IN.items())


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
        lambda: cr.backend("numpy", dtype="float16"), cr.DTypeError, r"must be 'float32' or 'float64', got 'float16'"
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
    "rate infinite": number(lambda: cr.SGD(float("inf")), "learning_rate must be a finite number, got inf"),
    "rate NaN": number(lambda: cr.SGD(float("nan")), "learning_rate must be a number, got nan"),
    "rate a word": number(lambda: cr.SGD("fast"), "learning_rate must be a number or a schedule, got 'fast'"),  # type: ignore[arg-type]
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
    check(number(lambda: fit(backend=library, **options), rf"^{says}: .*dtype='float64'\)\.$"))


def test_what_float64_holds_is_taken_there() -> None:
    wide = cr.backend("numpy", dtype="float64")
    free = fit(backend=wide)
    assert fit(backend=wide, clip=cr.ClipNorm(1e39)) == free
    assert fit(backend=wide, clip=cr.ClipNorm(1e300)) == free
    assert fit(backend=wide, optimizer=cr.Adam(epsilon=1e-44)) != free
    says = (
        r"epsilon must be 0 or of a size from 2\.23e-308 to 1\.8e\+308 in float64, got 1e-310: give another number\.$"
    )
    check(number(lambda: fit(backend=wide, optimizer=cr.Adam(epsilon=1e-310)), says))


def test_an_infinite_number_is_no_number_that_is_too_large() -> None:
    assert np.isfinite(fit(loss=cr.Huber(float("inf"))).history["loss"]).all()


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_first_weights_that_float32_cannot_hold_are_refused(library: str) -> None:
    find_library(library)
    net = cr.mlp([3, 1], weight_init=cr.Normal(1e300))
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


def test_a_batch_size_above_the_data_is_the_data_and_said_once() -> None:
    with pytest.warns(UserWarning, match=r"batch_size 100 is more than the 20 rows there are: .* all of them") as seen:
        model = fit(batch_size=100, epochs=3)
    assert [w.filename for w in seen] == [bad_case.__file__]  # it points to the caller's line
    assert model == fit(batch_size=20, epochs=3)


def test_options_of_a_module_that_keeps_annotations_as_types_are_checked_too() -> None:
    fields: list[Any] = [("count", int), ("most", int | None), ("rate", float), ("on", bool)]
    options = make_dataclass("Options", fields, frozen=True, namespace={"__post_init__": check_numbers})
    made: Any = options(np.int64(2), None, np.float32(0.5), True)
    assert [type(value) for value in vars(made).values()] == [int, type(None), float, bool]
    with pytest.raises(cr.ConfigurationError, match=r"Options: count must be a whole number, got 2\.5"):
        options(2.5, None, 0.5, True)
    with pytest.raises(cr.ConfigurationError, match=r"Options: rate must be a number, got '0\.5'"):
        options(2, None, "0.5", True)
