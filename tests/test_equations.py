"""``chainrule where``, and docstrings that say what runs in an equation's place, against the tables of what does."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr
from chainrule import activations, equations, losses, optimizers
from chainrule._kernels import _PROVIDERS, FASTER_BODIES, _cupy, _numba, _numpy, _sparse, _torch
from chainrule.cli import main

where = cache(equations.where)
LINE = re.compile(r"^Faster bodies take its place on (.+): ``chainrule where (\w+)``\.$", re.MULTILINE)
REPLACED = {operation.__name__: operation for table in FASTER_BODIES.values() for operation in table}
CLASSES = {
    name: thing for name in dir(cr) if isinstance(thing := getattr(cr, name), type) and name in equations._named()
}
NAMED = REPLACED | CLASSES


def test_every_table_of_providers_is_there() -> None:
    tables = (_numpy.PROVIDERS, _numba.PROVIDERS, _sparse.PROVIDERS, _PROVIDERS["cupy"], _torch.PROVIDERS)
    assert tuple(FASTER_BODIES.values()) == tables
    rooms = Path(inspect.getfile(_numpy)).parent.glob("*.py")
    assert sum("\nPROVIDERS" in room.read_text() for room in rooms) == 6  # CuPy's are two


@pytest.mark.parametrize("name", NAMED)
def test_a_docstring_says_whose_faster_bodies_run_in_its_place_and_no_others(name: str) -> None:
    said = LINE.findall(inspect.getdoc(NAMED[name]) or "")
    libraries = ", ".join(where(name).libraries)
    assert said == ([(libraries, name)] if libraries else [])
    if name in REPLACED and len(where(name).bodies) == 1:  # it runs no other
        assert libraries.split(", ") == [library for library, table in FASTER_BODIES.items() if REPLACED[name] in table]


def test_no_other_docstring_says_so() -> None:
    house = Path(cr.__file__).parent
    said = [
        name
        for source in house.rglob("*.py")
        for _, name in LINE.findall(re.sub("^ +", "", source.read_text(), flags=re.M))
    ]
    assert sorted(said) == sorted(name for name in NAMED if where(name).libraries)


Z = np.asarray([[0.3, -1.2, 2.0], [0.1, 0.0, -0.4]])


def parts(room: Any) -> Iterator[Any]:
    """One object of each class of ours."""
    table = vars(room)[room.__name__.split(".")[-1].upper()]
    yield from (part() if isinstance(part, type) else part for part in table.values())


def declines(library: str, operation: Any, part: Any) -> bool:
    """Whether a provider has no body for this activation, loss or optimizer."""
    on = cr.backend("torch:cpu" if library == "torch" else "numpy", dtype="float64")
    z, g, one, y = (on.asarray(x) for x in (Z, Z[0].copy(), np.ones(1), np.asarray([[1.0], [2.0]])))
    arguments = {
        "activate": (part, z),
        "activation_gradient": (part, z, z, z),
        "cost": (part, z, on.xp.astype(y, on.xp.int32), None),
        "adam": (part, g, g, (g + 0.0, g**2), one, one),
    }[operation.__name__]
    return FASTER_BODIES[library][operation](on, *arguments) is NotImplemented


@pytest.mark.parametrize("library", ["NumPy", "Numba", "torch"])
def test_a_faster_body_covers_the_classes_that_its_docstring_names(library: str) -> None:
    if library != "NumPy":
        find_library(library.lower())
    tried = 0
    for room, operations in (
        (activations, ["activate", "activation_gradient"]),
        (losses, ["cost"]),
        (optimizers, ["adam"]),
    ):
        for part in parts(room):
            found = {body.name: {faster.name for faster in body.faster} for body in where(type(part).__name__).bodies}
            for name in operations:
                if name in found:
                    tried += 1
                    assert (library in found[name]) != declines(library, REPLACED[name], part), (name, part)
    assert tried == 2 * len(activations.ACTIVATIONS) + len(losses.LOSSES) + 2  # Adam and AdamW


def test_cupys_bodies_cover_the_classes_that_their_docstrings_name() -> None:
    for operation in ("activate", "activation_gradient"):
        covered = {
            name for name in CLASSES if any(body.name == operation and body.faster for body in where(name).bodies)
        }
        assert covered - {"Activate"} == {kind.__name__ for kind in _cupy._ACTIVATIONS}
    for rule in optimizers.OPTIMIZERS.values():
        assert _cupy._rule(rule())
        assert "CuPy" in where(rule.__name__).libraries
    assert [name for name in CLASSES if "CuPy" in where(name).libraries and name.endswith(("Error", "Entropy"))] == [
        "SoftmaxCrossEntropy"
    ]


def test_a_class_whose_methods_run_operations_names_them() -> None:
    """Nothing whose methods ask ``backend.run`` is said to run as it is written."""
    for name, thing in equations._named().items():
        methods = vars(thing).values() if isinstance(thing, type) else [thing]
        code = [part.__code__ for part in methods if inspect.isfunction(part)]
        if any("run" in each.co_names for each in code):
            assert where(name).libraries, name
    assert [body.name for body in where("Dense").bodies[1:]] == [
        "bias_gradient", "affine", "weight_gradient", "input_gradient",
    ]  # fmt: skip
    assert [body.name for body in where("relu").bodies] == ["ReLU", "activate", "activation_gradient"]
    assert [body.name for body in where("ClipNorm").bodies] == ["ClipNorm", "clip_norm"]


@pytest.mark.parametrize(
    "name", ["Adam", "adam", "relu", "affine", "Dense", "softmax_cross_entropy", "BatchNorm", "join"]
)
def test_the_lines_are_those_of_the_source(name: str) -> None:
    found = where(name)
    for body in (*found.bodies, *(faster for each in found.bodies for faster in each.faster)):
        lines = body.path.read_text().splitlines()[body.first - 1 : body.last]
        starts = "class |@dataclass" if body.name[0].isupper() and body in found.bodies else "def "
        assert re.match(starts, lines[0])
        assert lines[-1].startswith("    ")
    table = str(found)
    assert all(f"{body.path.name}:{body.first} " in table for body in found.bodies)


def test_the_command_prints_places_that_a_terminal_opens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(cr.__file__).parent
    for folder, start in ((source, ""), (tmp_path, f"{source}/")):
        monkeypatch.chdir(folder)
        assert main(["where", "Adam"]) == 0
        printed = capsys.readouterr().out.splitlines()
        places = [line.split()[1] for line in printed[:-1]]
        assert all(re.fullmatch(re.escape(start) + r"[\w/]+\.py:\d+", place) for place in places), printed
        assert [line.split()[0] for line in printed[:-1]] == [
            *("Adam", "adam", "NumPy", "Numba", "torch"),
            *("update", "CuPy", "torch"),
        ]
        assert printed[-1].endswith("With kernels=False none does.")
    assert main(["where", "CosineDecay"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "What is written is what runs, on every library."


def test_an_unknown_name_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    for name, hint in (
        ("Relu", "did you mean 'relu'"),
        ("Addam", "'Adam'"),
        ("batchnorm", "'BatchNorm'"),
        ("?", "write a"),
    ):
        assert main(["where", name]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"error: no equation is called {name!r}: ")
        assert hint in said


def test_a_function_that_answers_slips_is_where_it_is_written() -> None:
    body = where("mlp").bodies[0]
    assert body.path.name == "network.py"
    assert body.path.read_text().splitlines()[body.first - 1 : body.first + 1][-1].startswith("def mlp(")
