"""docs/own_parts.md: what it shows runs, prints what it says, and is as short as it can be."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "own_parts.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", PAGE, re.DOTALL)
# Without decorator, fields, signatures and docstring.
STATEMENTS = {"Square": 2, "Gain": 4, "Noise": 4, "Center": 5, "fourth_power": 2, "SignMomentum": 5, "Halved": 1}


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of a module, which classes and functions need to be pickled."""
    module = ModuleType("own_parts_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return vars(module)


def test_the_page_runs_and_prints_what_it_says(page: dict[str, Any]) -> None:
    for code, says in BLOCKS:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "own_parts.md", "exec"), page)
        assert printed.getvalue() == says
    assert {"check_activation", "check_layer", "check_loss", "check_optimizer", "check_schedule"} <= page.keys()


def test_its_example_of_a_sentence_is_one(page: dict[str, Any]) -> None:
    for code, _ in BLOCKS[:3]:
        exec(compile(code, "own_parts.md", "exec"), page)
    broken = type("Gain", (page["Gain"],), {"gradients": lambda s, b, r, dy: (b.xp.sum(dy, axis=-2, keepdims=True),)})
    with pytest.raises(AssertionError) as caught:
        page["check_layer"](broken(3), backends=["numpy"])
    assert f"    {caught.value}\n" in PAGE


@pytest.mark.parametrize("name", STATEMENTS)
def test_an_example_takes_as_few_statements_as_it_can(name: str) -> None:
    code = next(code for code, _ in BLOCKS if re.search(rf"^(class|def) {name}\b", code, re.MULTILINE))
    example = next(node for node in ast.parse(code).body if getattr(node, "name", None) == name)
    functions = [node for node in ast.walk(example) if isinstance(node, ast.FunctionDef)]
    assert sum(len(function.body) for function in functions) == STATEMENTS[name]
