"""What a model file describes: written, and checked field by field before it is believed."""

from __future__ import annotations

import reprlib
from typing import Any, TypeGuard

import numpy as np

from .._backend import DTYPES
from .._base.errors import ConfigurationError, ModelFileError
from .._base.options import check_range
from .._data.labels import Label, are_labels
from ..history import History, Record
from ..losses import LossFunction
from ..network import Sequential
from ..tables import Preprocessing
from . import serialization

_PARTS = {"network", "loss", "flat", "history", "preprocessing"}
_BESIDE = {"format", "versions", "training", "classes", "feature_names"}


def read_fields(arrays: dict[str, np.ndarray], description: dict[str, Any]) -> dict[str, Any]:
    """The fields of the model in a file, but for its arrays and where it runs.

    Raises ModelFileError for arrays or a description that ``Model.save`` would not write.
    """
    network, loss, prepared = _parts(description)
    classes, names = _read_names(description, network, known=prepared is not None)
    _check_arrays(arrays, network, "training" in description)
    return {
        "network": network,
        "loss": loss,
        "flat": description["flat"],
        "history": History.from_json(description["history"]),
        "preprocessing": prepared,
        "classes": classes,
        "feature_names": names,
    }


def write_fields(fields: dict[str, Any], *, lenient: bool) -> dict[str, Any]:
    """The description of a model with these fields, in JSON. ``lenient``: null for a part that no file can hold."""
    network, loss = (serialization.encode(fields[part], lenient=lenient) for part in ("network", "loss"))
    if serialization.is_too_large(network, loss):
        raise ConfigurationError(
            f"a model file describes a network in at most {serialization.MOST:,} values, and this one has more, in "
            f"{len(fields['network'].layers):,} layers: save the arrays model.theta and model.buffers."
        )
    prepared = fields["preprocessing"]
    return {
        "network": network,
        "loss": loss,
        "flat": fields["flat"],
        "history": list(fields["history"].records),
        "preprocessing": None if prepared is None else prepared.to_json(),
        **(_write_names(fields["classes"], fields["feature_names"], lenient) if prepared is None else {}),
    }


def _write_names(classes: tuple[Label, ...], feature_names: tuple[str, ...], lenient: bool) -> dict[str, Any]:
    """Classes and feature names, where there are any."""
    if not (are_labels(list(classes)) or lenient):
        raise ConfigurationError(
            "a file holds classes that are text, truth values or numbers below 2**64, got "
            f"{type(classes[0]).__name__}: train on labels made to text, y.astype(str)."
        )
    names = {"classes": list(classes), "feature_names": list(feature_names)}
    return {name: value for name, value in names.items() if value and are_labels(value)}


def _parts(description: dict[str, Any]) -> tuple[Sequential, LossFunction, Preprocessing | None]:
    """Network, loss and preprocessing, if these and the rest are, field by field, what ``save`` writes for them.

    A field that is added to a layer or a loss must be put into descriptions of this format before they are compared,
    with the value that it has for all models of before.
    """
    described = [description.get(name) for name in ("network", "loss")]
    if serialization.is_too_large(*described):
        raise ModelFileError(f"a model file describes a network in at most {serialization.MOST:,} values, got more")
    network, loss = map(serialization.decode, described)
    if not isinstance(network, Sequential) or not isinstance(loss, LossFunction):
        got = f"{type(network).__name__} and {type(loss).__name__}"
        raise ModelFileError(f"the description must have a network and a loss, got {got}")
    unknown = sorted(description.keys() - _PARTS - _BESIDE)
    if unknown:
        raise ModelFileError(f"the description has {reprlib.repr(unknown[0])}, which this version of chainrule lacks")
    complete = description.keys() >= _PARTS
    if not complete or not isinstance(description["flat"], bool) or not _are_records(description["history"]):
        raise ModelFileError("the description's flat, history or preprocessing is not of the form that save writes")
    stored = description["preprocessing"]
    prepared = None if stored is None else Preprocessing.from_json(stored)
    written = {
        "network": serialization.encode(network),
        "loss": serialization.encode(loss),
        "preprocessing": None if prepared is None else prepared.to_json(),
    }
    for name, value in written.items():
        differs = serialization.difference(description[name], value, name)
        if differs:
            raise ModelFileError(f"the description's {differs} is not of the form that save writes")
    if prepared is not None:
        _check_fit(network, prepared)
    return network, loss, prepared


def _read_names(
    description: dict[str, Any], network: Sequential, *, known: bool
) -> tuple[tuple[Label, ...], tuple[str, ...]]:
    """Classes and feature names, as many as the network has outputs and inputs; one output can tell two classes.

    A preprocessing knows both: none stand beside it.
    """
    classes, names = (description.get(name, []) for name in ("classes", "feature_names"))
    absent = classes == [] and "classes" not in description
    fits = are_labels(classes) and (len(classes) == network.n_out or (network.n_out, len(classes)) == (1, 2))
    if not (absent or fits):
        raise ModelFileError(f"the classes {reprlib.repr(classes)} are not distinct labels of {network!r}")
    absent = names == [] and "feature_names" not in description
    named = are_labels(names) and isinstance(names[0], str) and len(names) == network.n_in if names else False
    if not (absent or named):
        raise ModelFileError(f"the feature names {reprlib.repr(names)} are not names of {network.n_in:,} inputs")
    if known and (classes or names):
        raise ModelFileError("the description has classes or feature names beside a preprocessing, which knows them")
    return tuple(classes), tuple(names)


def _check_fit(network: Sequential, prepared: Preprocessing) -> None:
    """The columns are the network's inputs, and the classes its outputs; one output can tell two classes."""
    classes = len(prepared.classes)
    fits = network.n_out == max(classes, 1) or (network.n_out, classes) == (1, 2)
    if network.n_in != prepared.n_features or not fits:
        raise ModelFileError(
            f"the preprocessing makes {prepared.n_features:,} inputs and has {classes:,} classes, which do not fit "
            f"{network!r}"
        )


def _check_arrays(arrays: dict[str, np.ndarray], network: Sequential, checkpoint: bool) -> None:
    """The arrays are the network's; beside them a checkpoint's own."""
    for name, size in (("theta", network.size), ("buffers", network.buffer_layout.size)):
        array = arrays.get(name)
        got = "nothing" if array is None else f"{array.dtype} {array.shape}"
        if array is None or array.shape != (size,) or array.dtype.name not in DTYPES:
            shape = f"({size},)" if size < 2**63 else "that no file can hold"
            raise ModelFileError(f"{name} must be float32 or float64 of shape {shape}, got {got}")
    if arrays["theta"].dtype != arrays["buffers"].dtype:
        got = f"{arrays['theta'].dtype} and {arrays['buffers'].dtype}"
        raise ModelFileError(f"theta and buffers must be of one dtype, got {got}")
    try:
        check_range(network.parts(), arrays["theta"].dtype.name)
    except ConfigurationError as error:
        raise ModelFileError(str(error).removesuffix(".")) from error
    more = [name for name in arrays if name not in ("theta", "buffers")]
    if any(not (checkpoint and name.startswith("training.")) for name in more):
        raise ModelFileError(f"it has arrays that no model has: {', '.join(more)!r}")


def _are_records(records: object) -> TypeGuard[list[Record]]:
    return isinstance(records, list) and all(
        isinstance(record, dict)
        and all(isinstance(value, int | float) and not isinstance(value, bool) for value in record.values())
        for record in records
    )
