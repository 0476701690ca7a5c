"""Everything that chainrule raises.

    ChainruleError
    ├── ConfigurationError  (ValueError)          an option that cannot be
    │   └── ArgumentError      (TypeError)        a keyword that a function does not have
    ├── DataError           (ValueError)          X, y or weights that cannot be trained on
    ├── DTypeError          (TypeError)           an element type that cannot be
    ├── BackendError        (RuntimeError)        a backend or device that cannot run here
    │   └── DeviceMemoryError  (MemoryError)      a device without memory enough
    ├── MissingEntryError   (KeyError, IndexError)  a column, an epoch or an array that is not there
    ├── MissingAttributeError  (AttributeError, TypeError)  what an object does not have, but another has
    ├── MissingExtraError   (ImportError)         an optional package that is not installed
    ├── DivergenceError     (FloatingPointError)  a training run that turned NaN or infinite
    ├── ContractError       (AssertionError)      a part of one's own that does not do what its kind must
    └── FileError           (OSError)             a file that cannot be read or written
        └── ModelFileError                        a file that is not a model of ours

and one warning of its own, InterruptedTraining; ``warn`` gives all of them.

Each is also the built-in exception that it refines, so ``except ValueError`` keeps working.
Every message says what was expected, what came, and what to do.
"""

from __future__ import annotations

import difflib
import math
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from .synonyms import OTHERWISE, same_argument, value_for

USE_FLOAT64 = "use float64, backend=cr.backend(like=X, dtype='float64')"  # what fit and the estimators take


class ChainruleError(Exception):
    """The base of every error that chainrule raises."""


class ConfigurationError(ChainruleError, ValueError):
    """An option that cannot be: an unknown name, a negative rate, a link applied twice."""


class ArgumentError(ConfigurationError, TypeError):
    """A keyword that a function does not have; the message names the one that is meant."""


class DataError(ChainruleError, ValueError):
    """X, y or weights that cannot be trained on: wrong shape, NaN, labels out of range."""


class DTypeError(ChainruleError, TypeError):
    """An element type that cannot be: strings where numbers are needed, float64 where there is none."""


class BackendError(ChainruleError, RuntimeError):
    """A backend or a device that cannot run here; the message says why and how to get it."""


class DeviceMemoryError(BackendError, MemoryError):
    """A device has not enough memory; the message says how much was needed and what would fit."""


class MissingEntryError(ChainruleError, KeyError, IndexError):
    """A column, an epoch, a layer or an array by name, that is not there; the message says what is."""

    __str__ = Exception.__str__  # a KeyError shows its message in quotes


class MissingAttributeError(ChainruleError, AttributeError, TypeError):
    """An attribute, or a call, that an object does not have; the message says what to write in its place."""


class MissingExtraError(ChainruleError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class ContractError(ChainruleError, AssertionError):
    """A layer, loss, activation, optimizer or schedule that does not do what its kind must; see chainrule.testing."""


class FileError(ChainruleError, OSError):
    """A file that cannot be read or written."""


class ModelFileError(FileError, ValueError):
    """A file that is truncated, altered, not a chainrule model, or from a later version."""


class DivergenceError(ChainruleError, FloatingPointError, ValueError):
    """Training turned NaN or infinite.

    Attributes:
        finding: what happened, in words.
        epoch: in which epoch, counted from 1.
        step: in which of its steps, counted from 1.
        layer: the first that went wrong, in words.
        model: the ``Model`` with the last weights that were finite.
    """

    def __init__(self, finding: str, *, epoch: int, step: int, layer: str, model: Any) -> None:
        super().__init__(f"{finding} The error's .model has the last good weights.")
        self.finding = finding
        self.epoch = epoch
        self.step = step
        self.layer = layer
        self.model = model

    def __reduce__(self) -> tuple[Any, ...]:  # so that it comes out of another process
        known = {"epoch": self.epoch, "step": self.step, "layer": self.layer, "model": self.model}
        return partial(DivergenceError, **known), (self.finding,)


class InterruptedTraining(UserWarning):
    """A warning: Ctrl-C ended a training run; the model so far was returned.

    ``warnings.simplefilter("error", cr.InterruptedTraining)`` makes an error of it.
    """


def unknown_name(kind: str, got: object, known: Iterable[str], hint: str = "") -> ConfigurationError:
    """The error for a name that is in no table, with what is meant by it, or the nearest name that is."""
    names, ours = sorted(known), value_for(kind, got)
    if ours is not None:
        hint = f"write {ours!r}." if ours in names else f"write {ours}."
    return ConfigurationError(f"unknown {kind} {got!r}: {hint or _listed(got, names)}")


def unknown_argument(function: str, got: str, known: Sequence[str]) -> ArgumentError:
    """The error for a keyword that a function does not have, with what is meant by it, or the nearest that it has."""
    otherwise, ours = OTHERWISE.get(function, {}).get(got), same_argument(got, known)
    if otherwise is not None:
        hint = f"{', '.join(otherwise)}."
    else:
        hint = _listed(got, list(known)) if ours is None else f"write {ours}."
    return ArgumentError(f"{function} has no {got}: {hint}")


def too_many_arguments(function: str, count: int, placed: Sequence[str], named: Sequence[str]) -> ArgumentError:
    """The error for more values by position than a function takes."""
    own = "self" in placed[:1]
    names = ", ".join(placed[own:])
    hint = f"name the others, {named[0]}=... or another of {', '.join(named)}" if named else "leave the others out"
    return ArgumentError(f"{function} takes {len(placed) - own} by position ({names}), got {count - own}: {hint}.")


def missing_column(got: object, known: Iterable[str]) -> MissingEntryError:
    """The error for a column that a history does not have, with the nearest one that it has."""
    return MissingEntryError(f"the history has no column {got!r}: {_listed(got, list(known))}")


def missing_array(got: object, known: Iterable[str]) -> MissingEntryError:
    """The error for an array that is in no table of arrays by name, with the nearest one that is."""
    return MissingEntryError(f"there is no array {got!r}: {_listed(got, list(known))}")


def missing_attribute(thing: object, name: str, instead: Mapping[str, str]) -> AttributeError:
    """The error for an attribute that is not there; ``instead`` says of the names that people try what to write."""
    kind = type(thing).__name__
    if name in instead:
        return MissingAttributeError(f"a {kind} has no {name!r}: {instead[name]}.")
    return AttributeError(f"{kind!r} object has no attribute {name!r}", name=name, obj=thing)


def _listed(got: object, names: list[str]) -> str:
    as_typed = {name.lower(): name for name in names}
    nearest = difflib.get_close_matches(str(got).lower(), as_typed, n=1, cutoff=0.5)
    hint = f"did you mean {as_typed[nearest[0]]!r}? " if nearest else ""
    return f"{hint}Known: {', '.join(names) or 'none'}."


def one_line(text: str) -> str:
    """A stranger's text without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def readable_size(size: float) -> str:
    """``1.5 GB`` for a number of bytes."""
    thousands = min(4, int(math.log10(max(1, size))) // 3)
    return f"{size / 1000**thousands:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[thousands]}"


def require(condition: bool, message: str) -> None:
    """Raise ConfigurationError(message) unless ``condition``."""
    if not condition:
        raise ConfigurationError(message)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that led here from outside of chainrule, and of scikit-learn, which calls its estimators."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in (
        "chainrule",
        "sklearn",
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
