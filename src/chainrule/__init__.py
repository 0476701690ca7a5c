"""chainrule: the multilayer perceptron for any array.

    import chainrule as cr

    net = cr.mlp([64, 128, 10], activation="relu")
    model = cr.fit(net, X, y, loss="softmax_cross_entropy", optimizer=cr.Adam(1e-3), epochs=20, backend="auto")
    model.predict(X_test)

Arrays in, network trained: X may be a NumPy, CuPy, torch or JAX array, and the same code runs on all of them.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ._backend import Backend as Backend
from ._backend import available_backends as available_backends
from ._base.arguments import classes_name_arguments as _classes_name_arguments
from ._base.errors import ArgumentError as ArgumentError
from ._base.errors import BackendError as BackendError
from ._base.errors import ChainruleError as ChainruleError
from ._base.errors import ConfigurationError as ConfigurationError
from ._base.errors import ContractError as ContractError
from ._base.errors import DataError as DataError
from ._base.errors import DeviceMemoryError as DeviceMemoryError
from ._base.errors import DivergenceError as DivergenceError
from ._base.errors import DTypeError as DTypeError
from ._base.errors import FileError as FileError
from ._base.errors import InterruptedTraining as InterruptedTraining
from ._base.errors import MissingAttributeError as MissingAttributeError
from ._base.errors import MissingEntryError as MissingEntryError
from ._base.errors import MissingExtraError as MissingExtraError
from ._base.errors import ModelFileError as ModelFileError
from ._data.streams import Parquet as Parquet
from ._kernels import backend as backend
from ._random import Key as Key
from .activations import ELU as ELU
from .activations import GELU as GELU
from .activations import SELU as SELU
from .activations import Activation as Activation
from .activations import Cosine as Cosine
from .activations import Exponential as Exponential
from .activations import GELUTanh as GELUTanh
from .activations import HardSigmoid as HardSigmoid
from .activations import HardSwish as HardSwish
from .activations import HardTanh as HardTanh
from .activations import LeakyReLU as LeakyReLU
from .activations import Linear as Linear
from .activations import Mish as Mish
from .activations import Polynomial as Polynomial
from .activations import ReLU as ReLU
from .activations import Sigmoid as Sigmoid
from .activations import SiLU as SiLU
from .activations import Sine as Sine
from .activations import Softplus as Softplus
from .activations import Step as Step
from .activations import Tanh as Tanh
from .diagnostics import Diagnosis as Diagnosis
from .diagnostics import diagnose as diagnose
from .gradient_check import GradientCheck as GradientCheck
from .gradient_check import check_gradients as check_gradients
from .history import History as History
from .initializers import Constant as Constant
from .initializers import Normal as Normal
from .initializers import Uniform as Uniform
from .initializers import VarianceScaling as VarianceScaling
from .initializers import glorot_normal as glorot_normal
from .initializers import glorot_uniform as glorot_uniform
from .initializers import he_normal as he_normal
from .initializers import he_uniform as he_uniform
from .initializers import lecun_normal as lecun_normal
from .initializers import lecun_uniform as lecun_uniform
from .initializers import relu_glorot_normal as relu_glorot_normal
from .initializers import relu_glorot_uniform as relu_glorot_uniform
from .initializers import sigmoid_glorot_normal as sigmoid_glorot_normal
from .initializers import sigmoid_glorot_uniform as sigmoid_glorot_uniform
from .layers import Activate as Activate
from .layers import BatchNorm as BatchNorm
from .layers import Buffer as Buffer
from .layers import Dense as Dense
from .layers import Dropout as Dropout
from .layers import Layer as Layer
from .layers import LayerNorm as LayerNorm
from .layers import Parameter as Parameter
from .layers import RandomizedLeakyReLU as RandomizedLeakyReLU
from .layers import Softmax as Softmax
from .losses import AbsoluteError as AbsoluteError
from .losses import Huber as Huber
from .losses import Loss as Loss
from .losses import Poisson as Poisson
from .losses import Quantile as Quantile
from .losses import SigmoidCrossEntropy as SigmoidCrossEntropy
from .losses import SoftmaxCrossEntropy as SoftmaxCrossEntropy
from .losses import SquaredError as SquaredError
from .metrics import confusion_matrix as confusion_matrix
from .model import Model as Model
from .model import load as load
from .network import Sequential as Sequential
from .network import mlp as mlp
from .optimizers import SGD as SGD
from .optimizers import Adagrad as Adagrad
from .optimizers import Adam as Adam
from .optimizers import AdamW as AdamW
from .optimizers import AveragedMomentum as AveragedMomentum
from .optimizers import ClipNorm as ClipNorm
from .optimizers import ClipValue as ClipValue
from .optimizers import Lion as Lion
from .optimizers import Momentum as Momentum
from .optimizers import Optimizer as Optimizer
from .optimizers import RMSProp as RMSProp
from .optimizers import VelocityMomentum as VelocityMomentum
from .penalties import Penalty as Penalty
from .schedules import ConstantRate as ConstantRate
from .schedules import CosineDecay as CosineDecay
from .schedules import ExponentialDecay as ExponentialDecay
from .schedules import InverseScaling as InverseScaling
from .schedules import OneCycle as OneCycle
from .schedules import Schedule as Schedule
from .schedules import StepDecay as StepDecay
from .tracing import LayerTrace as LayerTrace
from .tracing import Trace as Trace
from .tracing import trace as trace
from .training import Callback as Callback
from .training import Checkpoint as Checkpoint
from .training import CSVLogger as CSVLogger
from .training import EarlyStopping as EarlyStopping
from .training import ProgressBar as ProgressBar
from .training import RangeTest as RangeTest
from .training import ReduceOnPlateau as ReduceOnPlateau
from .training import Watch as Watch
from .training import find_rate as find_rate
from .training import fit as fit

if _TYPE_CHECKING:
    from .estimators import MLPClassifier as MLPClassifier
    from .estimators import MLPRegressor as MLPRegressor
    from .estimators import from_pipeline as from_pipeline

_classes_name_arguments(list(globals().values()))

_ESTIMATORS = ("MLPClassifier", "MLPRegressor", "from_pipeline")
_MODULES = ("plots", "testing")


def __getattr__(name: str) -> _Any:
    """What is imported when it is asked for: the estimators, whose extra takes its time, two modules, the version."""
    if name == "__version__":
        from importlib.metadata import version

        return version("chainrule")
    if name in _MODULES:
        return _import_module(f".{name}", __name__)
    if name not in _ESTIMATORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import estimators

    return getattr(estimators, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ESTIMATORS, *_MODULES, "__version__"})
