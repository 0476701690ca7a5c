"""The house stands as it was drawn: floors, imports, names, types, and examples that run."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import importlib.util
import inspect
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import find_library

import chainrule

HOUSE = Path(chainrule.__file__).parent
ROOT = Path(__file__).parent.parent
SOURCES = sorted(HOUSE.rglob("*.py"))
MODULES = ["chainrule", *(m.name for m in pkgutil.walk_packages(chainrule.__path__, "chainrule."))]
MODULES = [name for name in MODULES if not name.endswith(".__main__")]  # importing these runs them
NUMBA = ("_compiled", "_queue")  # modules that are loops of its
EXTRAS = ("typer", "rich", "pandas", "matplotlib", "sklearn", "safetensors", "scipy", "numba")
EXTRAS += ("torch", "jax", "cupy", "dpnp", "dpctl")


def name_of(source: Path) -> str:
    return str(source.relative_to(HOUSE))


# -------------------------------------------------------------------------------------------------------------- floors


def test_every_module_imports_only_from_the_floors_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    linter = find_library("import-linter", "importlinter.cli")
    monkeypatch.chdir(ROOT)
    assert linter.lint_imports(no_cache=True, no_logo=True) == 0


def imports_of(statement: str) -> set[str]:
    """The packages that a new process has after this statement, the standard library left out."""
    script = f"{statement}\nimport sys, json\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    return {name.split(".")[0] for name in json.loads(done.stdout)} - set(sys.stdlib_module_names) - {"chainrule"}


WITHOUT_NUMBA = "import importlib.util; importlib.util.find_spec = lambda name: None"
TRAINS = "X = [[0.0], [1.0]]; cr.fit(cr.mlp([1, 1]), X, [0.0, 1.0], loss='squared_error', epochs=1).predict(X)"


@pytest.mark.parametrize("use", ["", f"{WITHOUT_NUMBA}\n{TRAINS}"], ids=["imported", "trained with on numpy"])
def test_chainrule_brings_numpy_and_array_api_compat_and_nothing_else(use: str) -> None:
    theirs = imports_of("import numpy.random, array_api_compat.numpy")
    assert imports_of(f"import chainrule as cr\n{use}") == theirs
    assert {"numpy", "array_api_compat"} <= theirs
    assert not set(EXTRAS) & theirs


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_imported_where_it_is_used_and_never_at_the_top_of_the_library(extra: str) -> None:
    for source in SOURCES:
        rooms_of_extras = HOUSE / "cli", HOUSE / "estimators", *(HOUSE / "_kernels" / f"{name}.py" for name in NUMBA)
        if any(source.is_relative_to(room) for room in rooms_of_extras):
            continue  # the command line needs its extra, the estimators scikit-learn, and Numba's loops Numba
        for node in ast.parse(source.read_text()).body:
            imported = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert extra not in [name.split(".")[0] for name in imported], name_of(source)


def words(source: Path) -> Iterator[str]:
    """The names in a file's code, and the strings that are one word; docstrings, comments and messages are left out."""
    tree = ast.parse(source.read_text())
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Constant(value=str(name)) | ast.arg(arg=name):
                yield name
            case ast.Import(names=names):
                yield from (part for alias in names for part in alias.name.split("."))
            case ast.ImportFrom(module=str(module)):
                yield from module.split(".")


def test_only_backends_and_kernels_name_an_array_library() -> None:
    libraries = {
        "torch",
        "jax",
        "cupy",
        "dpnp",
        "array_api_strict",
        "array-api-strict",
        "array_api_compat",
        "tensorflow",
    }
    for source in SOURCES:
        if not {"_backend", "_kernels"} & set(source.relative_to(HOUSE).parts):
            assert not libraries & set(words(source)), name_of(source)


def test_only_numpy_is_imported_above_the_backends_and_only_on_the_host() -> None:
    # ``np.something`` inside a step would run on the host; the files that a step is made of do not know NumPy.
    pure = [HOUSE / name for name in ("losses.py", "schedules.py", "penalties.py", "backpropagation.py")]
    pure += [source for room in ("activations", "layers", "optimizers") for source in (HOUSE / room).glob("*.py")]
    for source in pure:
        assert "numpy" not in set(words(source)), name_of(source)


def test_there_is_no_room_for_what_belongs_nowhere() -> None:
    assert not {"utils", "util", "helpers", "common", "misc"} & {source.stem for source in SOURCES}


# --------------------------------------------------------------------------------------------------- the public surface

PUBLIC = {
    name: getattr(chainrule, name)
    for name in dir(chainrule)
    if not name.startswith("_") and not inspect.ismodule(getattr(chainrule, name))
}


def test_the_names_that_the_library_is_used_by_are_there() -> None:
    faces = {"fit", "load", "mlp", "Sequential", "Model", "History", "EarlyStopping", "ProgressBar", "CSVLogger"}
    assert faces | {"check_gradients", "backend", "available_backends", "confusion_matrix", "Dense"} <= set(PUBLIC)


@pytest.mark.parametrize("room", ["activations", "initializers", "layers", "losses", "optimizers", "schedules"])
def test_what_a_network_is_made_of_is_exported(room: str) -> None:
    classes = [kind for kind in vars(importlib.import_module(f"chainrule.{room}")).values() if inspect.isclass(kind)]
    own = {kind.__name__ for kind in classes if dataclasses.is_dataclass(kind) and room in kind.__module__.split(".")}
    assert {name for name in own if not name.startswith("_")} - {"Buffer", "Parameter"} <= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_a_docstring_of_its_own(name: str) -> None:
    thing = PUBLIC[name]
    own = thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__
    assert own, name
    assert not own.startswith(f"{name}("), f"{name} has only the docstring that dataclass makes"


def parts(thing: Any) -> Iterator[Any]:
    """A callable, or a class's own public methods and constructor."""
    if not inspect.isclass(thing):
        yield thing
        return
    for name, member in vars(thing).items():
        made_by_typing = getattr(member, "__module__", None) == "typing"  # a protocol's __init__
        if (name == "__init__" and not made_by_typing) or not name.startswith("_"):
            member = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if inspect.isfunction(member):
                yield member


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_callable_is_annotated_whole(name: str) -> None:
    for part in parts(PUBLIC[name]):
        signature = inspect.signature(part)
        bare = [
            p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name not in ("self", "cls")
        ]
        assert not bare, f"{part.__qualname__}: {bare}"
        assert signature.return_annotation is not signature.empty, part.__qualname__


def test_every_module_says_what_it_is() -> None:
    for source in SOURCES:
        assert ast.get_docstring(ast.parse(source.read_text())), name_of(source)


def test_the_types_are_shipped() -> None:
    assert (HOUSE / "py.typed").is_file()


@pytest.mark.slow
def test_the_types_are_right() -> None:
    find_library("mypy")
    command = [sys.executable, "-m", "mypy"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout


# ------------------------------------------------------------------------------------------------------------- examples


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module)
    assert failed == 0


def test_the_examples_that_newcomers_read_are_there() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    for face in (chainrule.fit, chainrule.mlp, chainrule.Sequential, chainrule.Model.evaluate, chainrule.backend):
        assert any(test.examples for test in finder.find(face, face.__name__, globs={})), face.__name__
