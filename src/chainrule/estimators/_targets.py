"""What y is, labels or numbers, and all that is different between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import sklearn
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import column_or_1d

from .._base.errors import ConfigurationError, DataError
from .._data.labels import plain_labels
from ..losses import LossFunction, Poisson, SigmoidCrossEntropy, SoftmaxCrossEntropy, find_loss
from ._inputs import as_host, in_memory, read_numbers
from ._labels import ClassLabels, as_labels, check_labels, class_weights


@dataclass(frozen=True)
class Classes:
    """Labels, what each of them weighs, and the loss.

    ``encoded`` are the targets ``(rows, 1)`` or ``(rows, outputs)`` that the network is trained on.
    """

    labels: ClassLabels
    loss: LossFunction
    class_weight: Any

    numeric: ClassVar[bool] = False
    output: ClassVar[None] = None  # the output layer's activation

    @staticmethod
    def of(labels: ClassLabels, loss: Any, class_weight: Any) -> Classes:
        """For a loss as the parameter says it. Raises ConfigurationError for one with another link."""
        link = "softmax" if labels.kind == "multiclass" else "sigmoid"
        if loss == "log_loss":
            return Classes(labels, SoftmaxCrossEntropy() if link == "softmax" else SigmoidCrossEntropy(), class_weight)
        found = find_loss(loss)
        if found.link != link:
            raise ConfigurationError(
                f"{labels.kind} labels need a loss whose link is {link}, got {type(found).__name__}, whose "
                f"link is {found.link}: leave loss='log_loss', or give one with that link."
            )
        return Classes(labels, found, class_weight)

    @staticmethod
    def read(y: Any, what: str = "y") -> Any:
        """The targets as they were given, or what can be read in their place."""
        return in_memory(as_labels(y, what), what)

    @property
    def outputs(self) -> int:
        return self.labels.outputs

    @property
    def classes(self) -> tuple[Any, ...]:
        return plain_labels(self.labels.classes)

    def encode(self, y: Any) -> np.ndarray:
        return self.labels.encode(check_labels(y))

    def weigh(self, y: Any, weight: np.ndarray | None) -> np.ndarray | None:
        """What the rows weigh in training."""
        if self.class_weight is None:
            return weight
        if self.class_weight == "balanced":
            by_class = compute_sample_weight("balanced", y.toarray() if hasattr(y, "toarray") else y)
        else:
            by_class = class_weights(self.class_weight, self.labels, check_labels(y))
        product: np.ndarray = by_class if weight is None else by_class * weight
        return product

    def score(self, y: Any, predictions: np.ndarray, weight: np.ndarray | None) -> float:
        """The estimator's ``score``, from what the network predicts."""
        return float(sklearn.metrics.accuracy_score(as_host(y), self.labels.decode(predictions), sample_weight=weight))

    def strata(self, encoded: np.ndarray) -> np.ndarray | None:
        """What the validation rows are drawn evenly from."""
        return encoded.astype(bool) if self.labels.kind == "binary" else None

    def groups(self, encoded: np.ndarray) -> dict[str, np.ndarray]:
        """The rows ``(rows,)``, as truth values, of each class that a scorer may need in a validation set, by name."""
        if self.labels.kind == "multilabel":
            columns = enumerate(encoded.T)
            return {f"{value} in column {i}": column == value for i, column in columns for value in (0, 1)}
        return {repr(label): encoded[:, 0] == i for i, label in enumerate(self.labels.classes.tolist())}


@dataclass(frozen=True)
class Numbers:
    """Numbers, the loss, and the activation of the outputs."""

    outputs: int
    loss: LossFunction
    output: Any
    name: str  # of the loss, as the parameter says it

    numeric: ClassVar[bool] = True
    classes: ClassVar[tuple[Any, ...]] = ()

    @staticmethod
    def of(outputs: int, loss: Any, output: Any) -> Numbers:
        """For a loss and an activation as the parameters say them. Raises ConfigurationError for what does not fit."""
        found = find_loss(loss)
        if found.target == "classes":
            raise ConfigurationError(f"{loss!r} is a loss for classes: use MLPClassifier, or a loss for numbers.")
        if output is not None and found.link != "linear":
            raise ConfigurationError(
                f"the loss {loss!r} already applies {found.link} to the outputs, so output_activation={output!r} would "
                "come on top: leave it out, or take a loss such as 'squared_error'."
            )
        return Numbers(outputs, found, output, repr(loss))

    @staticmethod
    def read(y: Any, what: str = "y") -> Any:
        return read_numbers(y, what)

    def encode(self, y: Any) -> np.ndarray:
        y = y.toarray() if hasattr(y, "toarray") else y
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if not np.isfinite(y).all():  # of objects, which scikit-learn looks at as they are
            raise DataError(
                f"y has missing or infinite values in {(~np.isfinite(y)).any(axis=1).sum()} of {len(y)} rows."
            )
        low, high = {"counts": (0.0, np.inf), "fractions": (0.0, 1.0)}.get(self.loss.target, (-np.inf, np.inf))
        if (y < low).any() or (y > high).any():
            raise DataError(
                f"y must lie between {low:g} and {high:g} for the loss {self.name}, got values from {y.min():g} to "
                f"{y.max():g}: choose another loss, such as 'squared_error', or transform y."
            )
        return y

    def weigh(self, y: Any, weight: np.ndarray | None) -> np.ndarray | None:
        return weight

    def score(self, y: Any, predictions: np.ndarray, weight: np.ndarray | None) -> float:
        if not np.isfinite(predictions).all() or len(predictions) < 2:
            return float("nan")
        return float(sklearn.metrics.r2_score(as_host(y), predictions, sample_weight=weight))

    def strata(self, encoded: np.ndarray) -> np.ndarray | None:
        return None

    def groups(self, encoded: np.ndarray) -> dict[str, np.ndarray]:
        return {}


Targets: TypeAlias = Classes | Numbers


def constant(loss: LossFunction, encoded: np.ndarray, weight: np.ndarray | None) -> float:
    """What is added to a loss so that a perfect prediction has 0, as in scikit-learn."""
    if not isinstance(loss, Poisson):
        return 0.0
    safe = np.where(encoded > 0, encoded, 1.0)
    return float(np.average(encoded * np.log(safe) - encoded, weights=weight, axis=0).sum())
