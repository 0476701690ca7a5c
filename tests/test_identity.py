"""What a training is told by: own functions by what they do, alike in every process; whatever changes them is seen."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr
from chainrule.training._identity import identify

X = np.random.default_rng(1).normal(size=(20, 3)).astype("float32")
Y = X[:, 0]


def scaled(by: Any) -> Callable[..., Any]:
    return lambda xp, z: by * z


def calls_help(xp: Any, z: Any) -> Any:
    return helped(z)


def helped(z: Any) -> Any:
    return z * FACTOR


FACTOR = 2.0


class Own:
    """A callable object with settings, some of them the class's."""

    rate = 0.5

    def __init__(self, by: Any, name: str = "own") -> None:
        self.by, self.name = by, name

    def __call__(self, xp: Any, z: Any) -> Any:
        return self.inner(z) * self.by

    def inner(self, z: Any) -> Any:
        return z + self.rate


class Slotted:
    __slots__ = ("by",)

    def __init__(self, by: Any) -> None:
        self.by = by

    def __call__(self, xp: Any, z: Any) -> Any:
        return z * self.by


@dataclass(frozen=True)
class Frozen:
    by: float
    note: str = field(default="", compare=False)

    def __call__(self, xp: Any, z: Any) -> Any:
        return z * self.by


def with_default(by: float) -> Callable[..., Any]:
    def f(xp: Any, z: Any, by: float = by) -> Any:
        return z * by

    return f


def with_keyword(by: float) -> Callable[..., Any]:
    def f(xp: Any, z: Any, *, by: float = by) -> Any:
        return z * by

    return f


def nested(by: float) -> Callable[..., Any]:
    def f(xp: Any, z: Any) -> Any:
        return (lambda z: z * by)(z)

    return f


def compiled(text: str) -> Any:
    return eval(f"lambda xp, z: {text}")


def decorated(by: float) -> Any:
    @functools.wraps(scaled(1))
    def f(*arguments: Any) -> Any:
        return scaled(by)(*arguments)

    return f


PAIRS: dict[str, tuple[Any, Any]] = {
    "code": (compiled("z"), compiled("-z")),
    "a constant": (compiled("z * 2"), compiled("z * 3")),
    "a constant's type": (compiled("z * 2"), compiled("z * 2.0")),
    "a sign of zero": (compiled("z * 0.0"), compiled("z * -0.0")),
    "a name": (compiled("xp.sin(z)"), compiled("xp.cos(z)")),
    "the order": (compiled("xp.sin(xp.cos(z))"), compiled("xp.cos(xp.sin(z))")),
    "a nested function": (compiled("(lambda a: a + 1)(z)"), compiled("(lambda a: a + 2)(z)")),
    "a closure": (scaled(1), scaled(2)),
    "a closure over an array": (scaled(np.ones(3)), scaled(np.asarray([1.0, 1, 2]))),
    "a closure over a list": (scaled([1, [2]]), scaled([1, [3]])),
    "a closure over a dictionary": (scaled({"a": 1}), scaled({"a": 2})),
    "a closure over a function": (scaled(scaled(1)), scaled(scaled(2))),
    "a closure over a set": (scaled({"a", "b"}), scaled({"a", "c"})),
    "a nested closure": (nested(1), nested(2)),
    "a default": (with_default(1), with_default(2)),
    "a keyword's default": (with_keyword(1), with_keyword(2)),
    "partial's arguments": (functools.partial(scaled, 1), functools.partial(scaled, 2)),
    "partial's keywords": (functools.partial(scaled, by=1), functools.partial(scaled, by=2)),
    "an object": (Own(1), Own(2)),
    "an object in slots": (Slotted(1), Slotted(2)),
    "a dataclass": (Frozen(1.0), Frozen(2.0)),
    "a bound method": (Own(1).inner, Own(2).inner),
    "what is wrapped": (decorated(1), decorated(2)),
    "what is cached": (functools.lru_cache(scaled(1)), functools.lru_cache(scaled(2))),
    "a ufunc": (np.sin, np.cos),
    "a type of object": (Own(1), Slotted(1)),
    "an activation": (cr.Activation(scaled(1), scaled(1)), cr.Activation(scaled(1), scaled(2))),
    "a loss": (cr.Loss(scaled(1)), cr.Loss(scaled(2))),
    "a network": tuple(cr.mlp([2, 3, 1], activation=cr.Activation(scaled(k), scaled(1))) for k in (1, 2)),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("what", PAIRS)
def test_two_that_differ_are_told_apart(what: str) -> None:
    one, other = PAIRS[what]
    assert identify(one) == identify(one)
    assert identify(one) != identify(other)


def test_what_a_function_finds_in_its_module_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before, module = identify(calls_help), sys.modules[__name__]
    monkeypatch.setattr(module, "FACTOR", 3.0)
    factor = identify(calls_help)
    monkeypatch.setattr(module, "helped", lambda z: z)
    assert len({before, factor, identify(calls_help)}) == 3


def test_what_a_class_holds_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {identify(Own(1))}
    monkeypatch.setattr(Own, "rate", 0.25)
    found.add(identify(Own(1)))
    monkeypatch.setattr(Own, "inner", lambda self, z: z)
    found.add(identify(Own(1)))
    assert len(found) == 3


@pytest.mark.parametrize("method", ["__init__", "__mul__", "__rmul__", "__getitem__", "__getattr__", "__call__"])
def test_what_an_operator_of_a_class_does_counts(method: str) -> None:
    def made(by: float) -> Any:
        return type("Scale", (), {"__module__": __name__, method: scaled(by)})

    assert identify(scaled(made(1))) == identify(scaled(made(1))) != identify(scaled(made(2)))


def test_what_changes_nothing_does_not_count() -> None:
    assert identify(scaled(1)) == identify(scaled(1))
    assert identify(Frozen(1.0, "a")) == identify(Frozen(1.0, "b"))
    assert identify(Own(np.float64(1))) == identify(Own(np.float64(1)))
    recursive = scaled(1)
    holder: dict[str, Any] = {"f": recursive}
    holder["self"] = holder
    assert identify(Own(holder)) == identify(Own(holder))


def test_a_counter_of_its_own_is_no_setting() -> None:
    def counting() -> Callable[..., Any]:
        calls = 0

        def f(xp: Any, z: Any) -> Any:
            nonlocal calls
            calls += 1
            return z * 2

        return f

    f = counting()
    before = identify(f)
    f(np, 1)
    assert identify(f) == before


@pytest.mark.parametrize(
    "hidden", [np.random.default_rng(0), iter([1]), object(), memoryview(b"x")], ids=lambda x: type(x).__name__
)
def test_what_cannot_be_told_is_said(hidden: Any) -> None:
    with pytest.warns(UserWarning, match=f"cannot tell the {type(hidden).__name__} in <lambda> from another"):
        identify(scaled(hidden))


def test_what_is_endless_is_said_and_takes_no_time() -> None:
    with pytest.warns(UserWarning, match="cannot tell the rest of more than"):
        identify(scaled([[i] for i in range(100_000)]))


SCRIPT = """
import functools
import numpy as np
import chainrule as cr
from chainrule.training._identity import identify

SIZES = {"b": 1, "a": 2}
NAMES = {"x", "y", "z"}

def helper(z):
    return z * SIZES["a"] if "x" in {"x", "y", "w"} else z

def value(xp, z):
    inner = lambda a: helper(a) + 1.5
    return inner(xp.sin(z))

class Own:
    rate = 0.5
    def __init__(self): self.names = NAMES; self.pair = (1, (2, "a")); self.again = (1, (2, "a"))
    def __call__(self, xp, z): return z * self.rate

def closed(by):
    return lambda xp, z: by * z

activation = cr.Activation(value, closed(NAMES))
parts = [value, Own(), Own().__call__, closed({"p": 1}), functools.partial(value, np), activation,
         cr.mlp([2, 3, 1], activation=cr.Activation(value, Own()))]
"""


def test_another_process_makes_the_same_of_it(tmp_path: Path) -> None:
    """Whatever its hash seed, its file's name, the lines before it, and whether it was compiled before."""
    (tmp_path / "one.py").write_text(SCRIPT + "print([identify(part) for part in parts])")
    (tmp_path / "parts.py").write_text("'''A module.'''\n\n\n" + SCRIPT)
    (tmp_path / "two.py").write_text("from parts import *\nprint([identify(part) for part in parts])")
    said = set()
    for script, seed in (("one.py", "1"), ("one.py", "2"), ("two.py", "3"), ("two.py", "4")):  # the last is compiled
        done = subprocess.run(
            [sys.executable, "-W", "error", str(tmp_path / script)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        said.add(done.stdout)
    assert len(said) == 1


HELPER = """
import logging, numpy as np
{unused}
C = {c}
COUNT = 0
log = logging.getLogger("helper")

def deepest(z):
    global COUNT
    COUNT += 1
    log.debug("called")
    return np.multiply(z, C)

def act(xp, z):
    return deepest(z)

class S:
    k = {c}
    @staticmethod
    def f(xp, z):
        return z * {c}
    def __init__(self, z=0):
        self.z = z * {c}
    def __call__(self, xp, z):
        return z * {c}
    def __mul__(self, z):
        return z * {c}
"""

NEXT_DOOR = {  # where a function says that it finds its helper
    "a function of its names": "from helper import act\nf = lambda xp, z: act(xp, z)",
    "a function of a module": "import helper\nf = lambda xp, z: helper.act(xp, z)",
    "a function of another name": "import helper as h\ng = h.act\nf = lambda xp, z: g(xp, z)",
    "a value": "import helper\nf = lambda xp, z: z * helper.C",
    "a value by name": "from helper import C\nf = lambda xp, z: z * C",
    "a class's function": "from helper import S\nf = lambda xp, z: S.f(xp, z)",
    "a class's value": "import helper\nf = lambda xp, z: z * helper.S.k",
    "an object": "from helper import S\ns = S()\nf = lambda xp, z: s(xp, z)",
    "an object that is made": "import helper\nf = lambda xp, z: helper.S(2).z * z",
    "an operator": "from helper import S\nf = lambda xp, z: S() * z",
    "a subclass": "from helper import S\nclass T(S): pass\nf = T()",
    "an import within": "def f(xp, z):\n    from helper import act\n    return act(xp, z)",
    "a module within": "def f(xp, z):\n    import helper\n    return helper.act(xp, z)",
    "an import further within": "def f(xp, z):\n    def g():\n        import helper as h\n        return h.C\n"
    "    return g()",
    "a default": "import helper\ndef f(xp, z, h=helper): return h.act(xp, z)",
    "a closure": "import helper\ndef made(h): return lambda xp, z: h.act(xp, z)\nf = made(helper)",
    "an attribute": "import helper\nclass A:\n    h = helper\n    def __call__(self, xp, z): return self.h.C\nf = A()",
    "a dictionary": "import helper\nD = {'h': helper}\nf = lambda xp, z: D['h'].act(xp, z)",
    "a star": "from helper import *\nf = lambda xp, z: act(xp, z)",
    "a package": "import pack\nf = lambda xp, z: pack.inner.act(xp, z)",
    "a package's module": "import pack.inner\nf = lambda xp, z: pack.inner.act(xp, z)",
    "a package's module within": "def f(xp, z):\n    from pack import inner\n    return inner.act(xp, z)",
    "a module that names another": "from pack import further\nf = lambda xp, z: further.act(xp, z)",
    "a module that imports another when it is called": "from pack.later import act\nf = lambda xp, z: act(xp, z)",
}  # fmt: skip


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """What a module's ``f`` is told by, with the helper that it has."""
    names, folders = ("own", "helper", "pack", "pack.inner", "pack.further", "pack.later"), iter(range(100))

    def tell(own: str, c: float, unused: str = "") -> Any:
        folder, helper = tmp_path / str(next(folders)), HELPER.format(c=c, unused=unused)
        (folder / "pack").mkdir(parents=True)
        (folder / "own.py").write_text(own)
        (folder / "helper.py").write_text(helper)
        (folder / "pack" / "__init__.py").write_text("from . import inner" if own.startswith("import pack\n") else "")
        (folder / "pack" / "inner.py").write_text(helper)
        (folder / "pack" / "further.py").write_text(
            "from .inner import act as other\ndef act(xp, z): return other(xp, z)"
        )
        (folder / "pack" / "later.py").write_text(
            "def act(xp, z):\n    from . import inner\n    return inner.act(xp, z)"
        )
        with monkeypatch.context() as patch:
            patch.syspath_prepend(folder)
            for name in names:
                patch.delitem(sys.modules, name, raising=False)
            f = importlib.import_module("own").f
            before = identify(f)
            for _ in range(2):
                f(np, 1.0)
            assert identify(f) == before  # what its calls count is no setting
            for name in names:
                sys.modules.pop(name, None)
        return before

    return tell


@pytest.mark.parametrize("where", NEXT_DOOR)
def test_what_a_function_finds_in_other_modules_counts(where: str, told: Callable[..., Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = told(NEXT_DOOR[where], 1.0)
        assert told(NEXT_DOOR[where], 1.0, unused="OTHER = 1") == one
        assert told(NEXT_DOOR[where], 3.0) != one


def test_what_is_installed_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = find_library("scikit-learn", "sklearn.metrics")
    f = scaled(metrics.f1_score)
    before = identify(f)
    monkeypatch.setattr(sys.modules[metrics.f1_score.__module__], "fbeta_score", lambda: None)
    assert identify(f) == before != identify(scaled(metrics.precision_score))


def test_a_chain_of_functions_may_be_long_and_a_circle() -> None:
    place: dict[str, Any] = {"__name__": "own"}
    for i in range(2000):
        exec(f"def f{i}(z): return f{(i + 1) % 2000}(z)", place)
    before = identify(place["f0"])
    exec("def f1500(z): return -f1501(z)", place)
    assert identify(place["f0"]) != before


def test_a_set_may_hold_what_holds_it() -> None:
    class Node:
        def __init__(self) -> None:
            self.near: set[Node] = {self}

    assert identify(scaled(Node())) == identify(scaled(Node()))


def test_a_metric_of_scikit_learn_is_told_in_silence() -> None:
    metrics = find_library("scikit-learn", "sklearn.metrics")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert identify(metrics.f1_score) != identify(metrics.precision_score)


# ------------------------------------------------------------------------------------------------------------- resuming


def squared(by: float) -> Any:
    def f(xp: Any, z: Any, y: Any) -> Any:
        return by * xp.sum((z - y) ** 2, axis=-1, keepdims=True), 2 * by * (z - y)

    return f


class Shift(cr.Layer):
    """A layer of one's own, with a setting that no dataclass holds."""

    def __init__(self, by: float) -> None:
        self.by = by

    def parameters(self) -> tuple[()]:
        return ()

    def buffers(self) -> tuple[()]:
        return ()

    def width(self, width: int) -> int:
        return width

    def forward(self, backend: Any, params: Any, buffers: Any, x: Any, key: Any) -> Any:
        return x + self.by, None, ()

    def apply(self, backend: Any, params: Any, buffers: Any, x: Any) -> Any:
        return x + self.by

    def gradients(self, backend: Any, residual: Any, dy: Any) -> tuple[()]:
        return ()

    def pullback(self, backend: Any, params: Any, residual: Any, dy: Any, grads: Any) -> Any:
        return dy


@dataclass(frozen=True)
class Steps:
    """An optimizer of one's own: a step of a size that a function tells."""

    size: Callable[[Any], Any]
    learning_rate: float = 0.1

    def init(self, backend: Any, theta: Any, decays: Any) -> tuple[()]:
        return ()

    def update(self, backend: Any, theta: Any, gradient: Any, moments: Any, t: Any, eta: Any) -> Any:
        return theta - self.size(gradient) * eta, moments


def metric(by: float) -> Any:
    def score(y: np.ndarray, answers: np.ndarray) -> float:
        return by

    return score


def bump(by: float) -> Any:
    return cr.Activation(lambda xp, z: by * z, lambda xp, z: xp.ones_like(z) * by)


OWN: dict[str, Callable[[Any], dict[str, Any]]] = {
    "loss": lambda by: {"loss": cr.Loss(squared(by))},
    "network": lambda by: {"network": cr.mlp([3, 4, 1], activation=bump(by))},
    "network by a layer": lambda by: {"network": cr.Sequential(cr.Dense(3, 4), Shift(by), cr.Dense(4, 1))},
    "metrics": lambda by: {"metrics": [metric(by)], "validation": (X, Y)},
    "optimizer": lambda by: {"optimizer": Steps(lambda gradient: gradient * by)},
}


@pytest.mark.parametrize("what", OWN)
def test_another_part_of_ones_own_is_refused_and_the_same_goes_on(what: str, tmp_path: Path) -> None:
    def train(by: float, epochs: int) -> cr.Model:
        usual: dict[str, Any] = {"network": cr.mlp([3, 4, 1]), "loss": "squared_error", "epochs": epochs}
        given = {**usual, **OWN[what](by)}
        return cr.fit(given.pop("network"), X, Y, checkpoint=cr.Checkpoint(tmp_path, resume=True), **given)

    train(0.5, 2)
    with pytest.raises(cr.ConfigurationError, match=f"another training run's: {what.split()[0]} is not the same"):
        train(0.75, 3)
    assert len(train(0.5, 3).history) == 3
