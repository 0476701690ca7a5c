"""Random networks, arrays, options and mistakes: a right answer, or an error that says what to do. See fuzz/runs.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import find_library
from hypothesis import HealthCheck, given, settings

import chainrule as cr

sys.path.insert(0, str(Path(__file__).parent / "fuzz"))
import runs

THOROUGH = settings(
    derandomize=True, deadline=None, database=None, print_blob=False, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
@settings(THOROUGH, max_examples=292)
@given(runs.calls(("numpy",) * 3 + ("torch",)))
def test_every_outcome_is_a_right_answer_or_an_error_that_says_what_to_do(call: runs.Call) -> None:
    find_library("torch").set_num_threads(1)
    runs.run(call)


@pytest.mark.slow
@settings(THOROUGH, max_examples=8)
@given(runs.calls(("jax",)))
def test_the_same_on_jax_which_compiles_each_example(call: runs.Call) -> None:
    find_library("jax")
    runs.run(call)


@pytest.mark.parametrize("name", runs.MISTAKES)
def test_a_mistake_is_answered_in_a_sentence(name: str) -> None:
    if any(word in name for word in ("torch", "bfloat16", "tensors", "meta", "lazy", "double")):
        find_library("torch")
    call = runs.plain_call()
    runs.make_mistake(call, name)
    runs.run(call)


def test_a_loaded_history_has_its_columns_in_order(tmp_path: Path) -> None:
    call = runs.plain_call()
    model = cr.fit(call.network, call.X, call.y, validation=(call.X, call.y), **call.arguments())
    model.save(tmp_path / "model.safetensors")
    assert cr.load(tmp_path / "model.safetensors").history.to_csv() == model.history.to_csv()


def test_the_plain_call_is_right() -> None:
    assert runs.run(runs.plain_call()) == "model"


def test_what_is_wrong_is_found() -> None:
    """The judge itself: a model whose numbers were changed after the training, and an error in no sentence."""
    call = runs.plain_call()
    model = cr.fit(call.network, call.X, call.y, **call.arguments())
    other = cr.fit(call.network, call.X, call.y, **{**call.arguments(), "seed": 1})
    object.__setattr__(model, "predict", other.predict)
    with pytest.raises(runs.Defect, match="plain forward pass"):
        runs.check_answers(call, model)
    for text in ("", "no full stop", "two\nlines.", "x" * 500 + ".", "Traceback (most recent call last)."):
        with pytest.raises(runs.Defect, match="no sentence"):
            runs.check_sentence(cr.DataError(text))
    assert np.isclose(runs.loss_value(cr.SquaredError(), np.ones((2, 1)), np.zeros(2)), 0.5)
