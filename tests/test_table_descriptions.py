"""A table's preprocessing as JSON: unchanged by the journey, and refused where it was altered."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from small_tables import HALVES, TURNS, refusal, table

from chainrule._base.errors import ConfigurationError, ModelFileError
from chainrule.tables import Preprocessing, Table


def everything(task: str) -> tuple[Table, Preprocessing]:
    target = TURNS if task == "classification" else HALVES
    made = table(target, a=[float("nan"), *range(19)], city=["Oslo", "Rome"] * 10)
    return made, Preprocessing.learn(made, np.arange(15), impute="median", unseen="ignore")


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_description_survives_json_unchanged(task):
    made, learned = everything(task)
    back = Preprocessing.from_json(json.loads(json.dumps(learned.to_json(), allow_nan=False)))
    assert back == learned
    np.testing.assert_array_equal(back.features(made), learned.features(made))
    np.testing.assert_array_equal(back.targets(made), learned.targets(made))
    assert back.describe() == learned.describe()


@pytest.mark.parametrize("classes", [[True, False], [3, -4], ["u", "v"]])
def test_classes_keep_their_type_through_json(classes):
    learned = Preprocessing.learn(table(classes * 5, a=range(10)))
    back = Preprocessing.from_json(json.loads(json.dumps(learned.to_json())))
    assert list(map(type, back.classes)) == list(map(type, learned.classes))


HOSTILE: list[tuple[tuple[Any, ...], Any]] = [
    ((), None),
    ((), []),
    (("columns",), None),
    (("columns",), []),
    (("columns",), {}),
    (("columns", 0), "numeric"),
    (("columns", 0, "kind"), "exec"),
    (("columns", 0, "kind"), ["numeric"]),
    (("columns", 0, "name"), 3),
    (("columns", 0, "name"), "city"),
    (("columns", 0, "name"), "y"),
    (("columns", 0, "mean"), float("nan")),
    (("columns", 0, "mean"), "0"),
    (("columns", 0, "mean"), True),
    (("columns", 0, "mean"), 10**400),
    (("columns", 0, "std"), 0.0),
    (("columns", 0, "std"), -1.0),
    (("columns", 0, "std"), float("inf")),
    (("columns", 0, "median"), []),
    (("columns", 0, "median"), None),
    (("columns", 1, "categories"), []),
    (("columns", 1, "categories"), "Oslo"),
    (("columns", 1, "categories"), ["Oslo", 1]),
    (("columns", 1, "categories"), ["Oslo", "Oslo"]),
    (("columns", 1, "most_frequent"), "Bern"),
    (("columns", 1, "most_frequent"), {}),
    (("target",), None),
    (("target", "kind"), "clustering"),
    (("target", "name"), None),
    (("target", "classes"), ["u"]),
    (("target", "classes"), ["u", "u"]),
    (("target", "classes"), ["u", 1]),
    (("target", "classes"), [True, 1]),
    (("target", "classes"), [[], []]),
    (("target", "classes"), [0.5, 1.5]),
    (("target", "classes"), [1, 2**63]),
    (("target", "classes"), 2),
    (("unseen",), "guess"),
    (("unseen",), None),
    (("impute",), "mean"),
    (("impute",), None),
    (("dropped",), [1]),
    (("notes",), "all is well"),
]


@pytest.mark.parametrize(("path", "value"), HOSTILE, ids=[f"{'.'.join(map(str, p))}={v!r}"[:40] for p, v in HOSTILE])
def test_an_altered_description_is_refused_by_the_field(path, value):
    stored = everything("classification")[1].to_json()
    if not path:
        stored = value
    else:
        inner = stored
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
    refusal(ModelFileError, lambda: Preprocessing.from_json(stored), "preprocessing", "expected", "got", "damaged")


@pytest.mark.parametrize("field", ["mean", "std"])
def test_an_altered_quantity_is_refused(field):
    stored = everything("regression")[1].to_json()
    del stored["target"][field]
    refusal(ModelFileError, lambda: Preprocessing.from_json(stored), f"preprocessing.target.{field}")


def test_options_that_cannot_be_are_refused():
    made = table(HALVES, a=HALVES)
    refusal(ConfigurationError, lambda: Preprocessing.learn(made, impute="mean"), "imputation", "median")
    refusal(ConfigurationError, lambda: Preprocessing.learn(made, unseen="ignored"), "did you mean 'ignore'?")
