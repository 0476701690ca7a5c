"""What help() says of a default is the default."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

import chainrule as cr
from chainrule import benchmark, plots, tables, testing

ENTRY = re.compile(r"^    (\w[\w, ]*): (.*\n(?:     .*\n|\n(?=     ))*)", re.MULTILINE)
VALUE = r"(None|True|False|none|no|yes|-?[0-9][0-9,]*(?:\.[0-9]+)?(?:e-?[0-9]+)?|\(.*?\)|\"[^\"]*\")"
STATED = re.compile(rf"[Dd]efault (?:``)?{VALUE}(?![\w'])|{VALUE}(?:``)? \(the default\)")
WORDS = {"no": False, "yes": True}


def callables(thing: Any) -> Iterator[tuple[str, Any]]:
    """It, and its public methods where it is a class."""
    yield thing.__qualname__, thing
    if isinstance(thing, type):
        for name, member in inspect.getmembers(thing, inspect.isfunction):
            if not name.startswith("_") and member.__module__.startswith("chainrule"):
                yield f"{thing.__qualname__}.{name}", member


def stated(text: str) -> Iterator[tuple[str, str]]:
    """(argument, its default in words) of each entry of Args that says one."""
    section = re.search(r"^Args:\n((?:    .*\n|\n)+)", f"{text}\n", re.MULTILINE)
    for names, entry in ENTRY.findall(section[1] if section else ""):
        for found in STATED.finditer(" ".join(entry.split())):
            for name in re.split(r",\s*", names):
                yield name, found[1] or found[2]


def cases() -> Iterator[tuple[str, Any, str]]:
    rooms = [cr, plots, tables, benchmark, testing]
    public = [getattr(room, name) for room in rooms for name in dir(room) if not name.startswith("_")]
    for thing in (one for one in public if callable(one) and one.__module__.startswith("chainrule")):
        for name, function in callables(thing):
            for argument, said in stated(inspect.getdoc(function) or ""):
                yield f"{name}: {argument}", inspect.signature(function).parameters[argument].default, said


CASES = {case[0]: case for case in cases()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_default_is_what_help_says(case: tuple[str, Any, str]) -> None:
    where, is_, said = case
    if said == "none":
        agrees = not is_
    else:
        value = WORDS[said] if said in WORDS else ast.literal_eval(said if said[0] in '"(' else said.replace(",", ""))
        agrees = is_ is None or is_ == value  # None stands for what is said
    assert agrees, f"help() says that {where} is {said} by default, and it is {is_!r}"


def test_defaults_are_stated() -> None:
    assert len(CASES) > 100
