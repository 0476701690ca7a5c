"""What scikit-learn has since 1.9, as it is, and what stands in its place before: nothing, or what ours rely on."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import _check_sample_weight

from .._base.errors import DataError, MissingExtraError

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
    from sklearn.callback import with_callbacks as with_callbacks
    from sklearn.utils._array_api import check_same_namespace as check_same_namespace

    check_sample_weight = _check_sample_weight
    KEEPS_TEXT = True  # whether the classes may stay on the host where X is another library's array
except ImportError:
    KEEPS_TEXT = False

    class CallbackSupportMixin:  # type: ignore[no-redef]
        def set_callbacks(self, *callbacks: Any) -> Any:
            raise MissingExtraError(
                "set_callbacks needs scikit-learn 1.9 or newer: pip install --upgrade scikit-learn, or give callbacks "
                "of the library's own, callbacks=[...]."
            )

    def with_callbacks(fit: Any) -> Any:
        return fit

    def check_same_namespace(X: Any, estimator: Any, *, attribute: str, method: str) -> None:
        pass  # X may be of any library, as since 1.9 with array_api_dispatch off

    def check_sample_weight(sample_weight: Any, X: Any, **how: Any) -> Any:
        checked = _check_sample_weight(sample_weight, X, **how)
        if not checked.any():
            raise DataError("Sample weights must contain at least one non-zero number.")
        return checked
