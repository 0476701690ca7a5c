"""Options of all kinds: what cannot be is refused, and a number of NumPy's becomes Python's."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_activations import ACTIVATIONS
from test_initializers import INITIALIZERS
from test_layers import LAYERS
from test_losses import LOSSES
from test_optimizers import OPTIMIZERS
from test_penalties import PENALTIES
from test_schedules import SCHEDULES

from chainrule import activations as act
from chainrule import initializers as init
from chainrule import layers, losses, optimizers, penalties, schedules
from chainrule._base.errors import ConfigurationError

WRONG: dict[str, Callable[[], object]] = {
    "an unknown activation": lambda: act.find_activation("rellu"),
    "no activation": lambda: act.find_activation(3),  # type: ignore[arg-type]
    "an empty polynomial": lambda: act.Polynomial(()),
    "an unknown initializer": lambda: init.find_initializer("he"),
    "no initializer": lambda: init.find_initializer(0.1),  # type: ignore[arg-type]
    "a negative std": lambda: init.Normal(-1.0),
    "low above high": lambda: init.Uniform(1.0, 0.0),
    "no variance": lambda: init.VarianceScaling(0.0),
    "an unknown fan": lambda: init.VarianceScaling(fan="out"),  # type: ignore[arg-type]
    "an unknown distribution": lambda: init.VarianceScaling(distribution="cauchy"),  # type: ignore[arg-type]
    "an unknown loss": lambda: losses.find_loss("mse"),
    "no loss": lambda: losses.find_loss(len),  # type: ignore[arg-type]
    "delta 0": lambda: losses.Huber(0.0),
    "q 1": lambda: losses.Quantile(1.0),
    "smoothing 1": lambda: losses.SoftmaxCrossEntropy(1.0),
    "smoothing below 0": lambda: losses.SigmoidCrossEntropy(-0.1),
    "an unknown optimizer": lambda: optimizers.find_optimizer("adan"),
    "no optimizer": lambda: optimizers.find_optimizer(0.1),  # type: ignore[arg-type]
    "a negative rate": lambda: optimizers.SGD(-0.1),
    "an infinite rate": lambda: optimizers.Adam(math.inf),
    "a rate that is no number": lambda: optimizers.Adam("0.1"),  # type: ignore[arg-type]
    "a rate that is a flag": lambda: optimizers.Adam(True),
    "b1 1": lambda: optimizers.Adam(b1=1.0),
    "mu below 0": lambda: optimizers.Momentum(mu=-0.1),
    "mu 2": lambda: optimizers.VelocityMomentum(mu=2.0),
    "beta 1": lambda: optimizers.AveragedMomentum(beta=1.0),
    "rho 1": lambda: optimizers.RMSProp(rho=1.0),
    "epsilon 0": lambda: optimizers.Adagrad(epsilon=0.0),
    "b2 1": lambda: optimizers.AdamW(b2=1.0),
    "a negative decay": lambda: optimizers.AdamW(decay=-0.1),
    "an infinite decay": lambda: optimizers.Lion(decay=math.inf),
    "a bound of 0": lambda: optimizers.ClipNorm(0.0),
    "an infinite bound": lambda: optimizers.ClipValue(math.inf),
    "every 0": lambda: schedules.StepDecay(0.1, 0),
    "factor 0": lambda: schedules.ExponentialDecay(0.1, 1, 0.0),
    "a negative power": lambda: schedules.InverseScaling(0.1, -1.0),
    "all warm-up": lambda: schedules.CosineDecay(0.1, 10, 10),
    "a rise of 1": lambda: schedules.OneCycle(0.1, 10, 1.0),
    "a start below 1": lambda: schedules.OneCycle(0.1, 10, start=0.5),
    "no steps": lambda: schedules.OneCycle(0.1, 0),
    "a negative penalty": lambda: penalties.Penalty(-0.1),
    "a penalty over nothing": lambda: penalties.Penalty(over="batch"),  # type: ignore[arg-type]
    "an endless penalty": lambda: penalties.Penalty(math.inf),
    "an endless slope": lambda: act.LeakyReLU(math.inf),
    "an endless constant": lambda: init.Constant(-math.inf),
    "an endless power": lambda: schedules.InverseScaling(0.1, math.inf),
    "an endless start": lambda: schedules.OneCycle(0.1, 10, start=math.inf),
    "an endless epsilon": lambda: layers.BatchNorm(2, epsilon=math.inf),
    "a flag in words": lambda: optimizers.Momentum(nesterov="no"),  # type: ignore[arg-type]
    "a flag that is a number": lambda: optimizers.Adam(epsilon_hat=1),  # type: ignore[arg-type]
    "no inputs": lambda: layers.Dense(0, 2),
    "half an output": lambda: layers.Dense(2, 2.5),  # type: ignore[arg-type]
    "unknown weights": lambda: layers.Dense(2, 2, weight_init="he"),
    "no features": lambda: layers.BatchNorm(0),
    "momentum 0": lambda: layers.BatchNorm(2, momentum=0.0),
    "epsilon below 0": lambda: layers.LayerNorm(2, epsilon=-1.0),
    "dropping all": lambda: layers.Dropout(1.0),
    "dropping all but nothing": lambda: layers.Dropout(1.0 - 2.0**-20),
    "slopes in the wrong order": lambda: layers.RandomizedLeakyReLU(0.5, 0.1),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_option_that_cannot_be_is_refused(what: str) -> None:
    with pytest.raises(ConfigurationError):
        WRONG[what]()


EVERYTHING = [
    *(case.activation for case in ACTIVATIONS.values()),
    *(case.layer for case in LAYERS.values()),
    *(case.loss for case in LOSSES.values()),
    *(case.optimizer for case in OPTIMIZERS.values()),
    *(schedule for schedule, _ in SCHEDULES.values()),
    *(case.initializer for case in INITIALIZERS.values()),
    *PENALTIES.values(),
    optimizers.ClipValue(1.0),
    optimizers.ClipNorm(1.0),
]


@pytest.mark.parametrize("thing", EVERYTHING, ids=lambda thing: type(thing).__name__)
def test_an_option_given_as_numpys_number_becomes_pythons(thing: Any) -> None:
    """A float32 array times np.float64(2) is float64, so that one option would double every array after it."""
    # A learning rate is made a schedule, of Python's numbers, when the step is made.
    numpys = {"float": np.float64, "int": np.int64}
    given = {f.name: numpys[f.type](getattr(thing, f.name)) for f in dataclasses.fields(thing) if f.type in numpys}
    if isinstance(thing, act.Polynomial):
        given = {"coefficients": tuple(map(np.float64, thing.coefficients))}
    made = dataclasses.replace(thing, **given)
    assert made == thing
    assert repr(made) == repr(thing)  # where np.float64(2.0) would show


@pytest.mark.parametrize("thing", EVERYTHING, ids=lambda thing: type(thing).__name__)
def test_help_says_what_each_method_gives(thing: Any) -> None:
    """Once in the protocol, which each of its classes names."""
    methods = inspect.getmembers(type(thing), inspect.isfunction)
    assert [name for name, method in methods if not name.startswith("_") and not inspect.getdoc(method)] == []


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown activation 'rellu': did you mean '\w*relu'\? Known: cosine"):
        act.find_activation("rellu")
