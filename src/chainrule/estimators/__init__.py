"""scikit-learn's two multilayer perceptrons, on any array. Needs the extra ``chainrule[sklearn]``."""

from .._base.arguments import classes_name_arguments
from .._base.errors import MissingExtraError

try:
    import sklearn.utils._repr_html  # noqa: F401  # there since 1.7; before, its own tests stop beside our dependencies
except ImportError as error:
    raise MissingExtraError(
        "chainrule's part for scikit-learn needs 1.7 or newer of it: pip install 'chainrule[sklearn]'."
    ) from error

from ._classifier import MLPClassifier as MLPClassifier
from ._pipeline import from_pipeline as from_pipeline
from ._regressor import MLPRegressor as MLPRegressor

classes_name_arguments([MLPClassifier, MLPRegressor])
