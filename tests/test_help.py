"""What one can look up: a public name or method has a text, with its arguments and an example that shows a result."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

import chainrule as cr

ROOMS = ("benchmark", "equations", "plots", "tables", "testing")  # whose names stand not at the top


def public() -> Iterator[tuple[str, Any]]:
    """What a user calls."""
    for name in (*cr.__all__, "MLPClassifier", "MLPRegressor", "from_pipeline"):
        yield name, getattr(cr, name)
    for room in ROOMS:
        for name, thing in vars(importlib.import_module(f"chainrule.{room}")).items():
            ours = getattr(thing, "__module__", "").startswith(f"chainrule.{room}")
            if ours and not name.startswith("_"):
                yield f"{room}.{name}", thing


def is_an_error(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseException)


CALLED = {name: thing for name, thing in public() if callable(thing) and not is_an_error(thing)}
TOP = {name: thing for name, thing in CALLED.items() if "." not in name}


def methods(kind: type) -> Iterator[str]:
    """The public methods and properties of a class that are of this library."""
    for name in dir(kind):
        member = inspect.getattr_static(kind, name)
        inner = member.fget if isinstance(member, property) else getattr(member, "func", member)
        inner = getattr(inner, "__func__", inner)
        if not name.startswith("_") and callable(inner) and getattr(inner, "__module__", "").startswith("chainrule"):
            yield name


METHODS = [(name, method) for name, kind in CALLED.items() if isinstance(kind, type) for method in methods(kind)]


@pytest.mark.parametrize(("name", "method"), METHODS, ids=[".".join(pair) for pair in METHODS])
def test_a_public_method_has_a_text(name: str, method: str) -> None:
    assert inspect.getdoc(getattr(CALLED[name], method)), f"help() of {name}.{method} is empty"


def text_of(thing: Any) -> str:
    own = thing.__dict__.get("__doc__") if isinstance(thing, type) else thing.__doc__
    return inspect.cleandoc(own or "")


@pytest.mark.parametrize("name", CALLED)
def test_a_public_callable_names_its_arguments(name: str) -> None:
    thing = CALLED[name]
    given = {word for word in inspect.signature(thing).parameters if word not in ("self", "args", "kwargs")}
    if getattr(thing, "_is_protocol", False) or not given:
        return
    section = re.search(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)+)", text_of(thing), re.MULTILINE)
    assert section, f"help({name}) has no Args"
    lines = re.findall(r"^    ([\w, *]+?):", section[1], re.MULTILINE)
    listed = {word for line in lines for word in re.split(r",\s*", line)}
    assert given <= listed, f"help({name}) does not name {sorted(given - listed)}"


@pytest.mark.parametrize("name", TOP)
def test_a_public_callable_has_an_example_that_shows_a_result(name: str) -> None:
    examples = doctest.DocTestParser().get_examples(text_of(TOP[name]))
    assert [e for e in examples if e.want], f"help({name}) has no example with a result"


def test_the_public_names_are_listed() -> None:
    imported = {name for name, thing in vars(cr).items() if not (name.startswith("_") or inspect.ismodule(thing))}
    assert imported - {"MLPClassifier", "MLPRegressor", "from_pipeline"} == set(cr.__all__)
    assert {"plots", "testing", "MLPClassifier", "__version__"} <= set(dir(cr))
    assert cr.plots.plot_history
    assert re.fullmatch(r"\d+\.\d+\.\d+\w*", cr.__version__)
