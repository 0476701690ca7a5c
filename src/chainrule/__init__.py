"""chainrule: the multilayer perceptron for any array.

    import chainrule as cr

    net = cr.mlp([64, 128, 10], activation="relu")
    model = cr.fit(net, X, y, loss="softmax_cross_entropy", optimizer=cr.Adam(1e-3), epochs=20, backend="auto")
    model.predict(X_test)

Arrays in, network trained: X may be a NumPy, CuPy, torch or JAX array, and the same code runs on all of them.
"""

import sys as _sys
from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ._backend import Backend, available_backends
from ._base.arguments import classes_name_arguments as _classes_name_arguments
from ._base.errors import (
    ArgumentError,
    BackendError,
    ChainruleError,
    ConfigurationError,
    ContractError,
    DataError,
    DeviceMemoryError,
    DivergenceError,
    DTypeError,
    FileError,
    InterruptedTraining,
    MissingAttributeError,
    MissingEntryError,
    MissingExtraError,
    ModelFileError,
)
from ._data.streams import Parquet
from ._kernels import backend
from ._random import Key
from .activations import (
    ELU,
    GELU,
    SELU,
    Activation,
    Cosine,
    Exponential,
    GELUTanh,
    HardSigmoid,
    HardSwish,
    HardTanh,
    LeakyReLU,
    Linear,
    Mish,
    Polynomial,
    ReLU,
    Sigmoid,
    SiLU,
    Sine,
    Softplus,
    Step,
    Tanh,
)
from .diagnostics import Diagnosis, diagnose
from .gradient_check import GradientCheck, check_gradients
from .history import History
from .initializers import (
    Constant,
    Normal,
    Uniform,
    VarianceScaling,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
    relu_glorot_normal,
    relu_glorot_uniform,
    sigmoid_glorot_normal,
    sigmoid_glorot_uniform,
)
from .layers import (
    Activate,
    BatchNorm,
    Buffer,
    Dense,
    Dropout,
    Layer,
    LayerNorm,
    Parameter,
    RandomizedLeakyReLU,
    Softmax,
)
from .losses import (
    AbsoluteError,
    Huber,
    Loss,
    Poisson,
    Quantile,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    SquaredError,
)
from .metrics import confusion_matrix
from .model import Model, load
from .network import Sequential, mlp
from .optimizers import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    AveragedMomentum,
    ClipNorm,
    ClipValue,
    Lion,
    Momentum,
    Optimizer,
    RMSProp,
    VelocityMomentum,
)
from .penalties import Penalty
from .schedules import ConstantRate, CosineDecay, ExponentialDecay, InverseScaling, OneCycle, Schedule, StepDecay
from .tracing import LayerTrace, Trace, trace
from .training import (
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    ProgressBar,
    RangeTest,
    ReduceOnPlateau,
    Watch,
    find_rate,
    fit,
    warm_up,
)

if _TYPE_CHECKING:
    from . import plots as plots
    from . import testing as testing
    from .estimators import MLPClassifier as MLPClassifier
    from .estimators import MLPRegressor as MLPRegressor
    from .estimators import from_pipeline as from_pipeline

__version__: str
__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "SGD",
    "AbsoluteError",
    "Activate",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "ArgumentError",
    "AveragedMomentum",
    "Backend",
    "BackendError",
    "BatchNorm",
    "Buffer",
    "CSVLogger",
    "Callback",
    "ChainruleError",
    "Checkpoint",
    "ClipNorm",
    "ClipValue",
    "ConfigurationError",
    "Constant",
    "ConstantRate",
    "ContractError",
    "Cosine",
    "CosineDecay",
    "DTypeError",
    "DataError",
    "Dense",
    "DeviceMemoryError",
    "Diagnosis",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
    "Exponential",
    "ExponentialDecay",
    "FileError",
    "GELUTanh",
    "GradientCheck",
    "HardSigmoid",
    "HardSwish",
    "HardTanh",
    "History",
    "Huber",
    "InterruptedTraining",
    "InverseScaling",
    "Key",
    "Layer",
    "LayerNorm",
    "LayerTrace",
    "LeakyReLU",
    "Linear",
    "Lion",
    "Loss",
    "Mish",
    "MissingAttributeError",
    "MissingEntryError",
    "MissingExtraError",
    "Model",
    "ModelFileError",
    "Momentum",
    "Normal",
    "OneCycle",
    "Optimizer",
    "Parameter",
    "Parquet",
    "Penalty",
    "Poisson",
    "Polynomial",
    "ProgressBar",
    "Quantile",
    "RMSProp",
    "RandomizedLeakyReLU",
    "RangeTest",
    "ReLU",
    "ReduceOnPlateau",
    "Schedule",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SigmoidCrossEntropy",
    "Sine",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Softplus",
    "SquaredError",
    "Step",
    "StepDecay",
    "Tanh",
    "Trace",
    "Uniform",
    "VarianceScaling",
    "VelocityMomentum",
    "Watch",
    "available_backends",
    "backend",
    "check_gradients",
    "confusion_matrix",
    "diagnose",
    "find_rate",
    "fit",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "load",
    "mlp",
    "relu_glorot_normal",
    "relu_glorot_uniform",
    "sigmoid_glorot_normal",
    "sigmoid_glorot_uniform",
    "trace",
    "warm_up",
]

_classes_name_arguments([globals()[name] for name in __all__])

# Imported when asked for. The estimators, which need scikit-learn, are not in __all__: a star would ask for them.
_LATER = {
    "plots": "plots",
    "testing": "testing",
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "from_pipeline": "estimators",
}


def __getattr__(name: str) -> _Any:
    """What is imported when it is asked for."""
    if name == "__version__":
        return _import_module("importlib.metadata").version("chainrule")
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=_sys.modules[__name__])
    module = _import_module(f".{_LATER[name]}", __name__)
    return module if name == _LATER[name] else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, "__version__"})
