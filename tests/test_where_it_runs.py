"""Where and how a training runs is one value, and every place that has a ``backend`` takes the same."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr
from chainrule.cli import main

X = np.random.default_rng(0).normal(size=(20, 3))
Y = X @ [1.0, -2.0, 0.5]
NETWORK = cr.mlp([3, 4, 1])


def fit(backend: Any = "auto", network: Any = NETWORK, **options: Any) -> cr.Model:
    usual = {"loss": None if isinstance(network, cr.Model) else "squared_error", "epochs": 1}
    return cr.fit(network, X, Y, backend=backend, **usual | options)


def test_fit_has_at_most_twenty_parameters() -> None:
    assert len(inspect.signature(cr.fit).parameters) <= 20


def test_a_name_has_its_device_after_a_colon() -> None:
    torch = find_library("torch")
    assert cr.backend("numpy:cpu") == cr.backend("numpy:0") == cr.backend("numpy", device="cpu")
    assert cr.backend("torch:cpu").device == torch.device("cpu") == cr.backend("torch:0").device
    assert cr.backend("array-api-strict:device1").device_name != cr.backend("array-api-strict").device_name


PLACES = {
    "fit": lambda where, folder: fit(where),
    "fit a model": lambda where, folder: fit(where, fit()),
    "to": lambda where, folder: fit().to(where),
    "load": lambda where, folder: cr.load(folder / "model.safetensors", backend=where),
    "estimator": lambda where, folder: (
        cr.MLPRegressor(max_iter=1, tol=10.0, backend=where, dtype="float32").fit(X, Y).model_
    ),
    "estimator's to": lambda where, folder: cr.MLPRegressor(max_iter=1, tol=10.0).fit(X, Y).to(where).model_,
}


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("where", ["array-api-strict:device1", "torch:cpu"])
def test_every_place_takes_the_name_and_the_backend(place: str, where: str, tmp_path: Path) -> None:
    find_library(where.split(":")[0], where.split(":")[0].replace("-", "_"))
    fit().save(tmp_path / "model.safetensors")
    made = cr.backend(where)
    named, given = PLACES[place](where, tmp_path).backend, PLACES[place](made, tmp_path).backend
    assert (named.name, named.device_name) == (made.name, made.device_name)
    assert given == made  # all of it, its dtype too


def test_a_backend_says_all_and_dtype_changes_it() -> None:
    exact = cr.backend("numpy", dtype="float64", compile=False)
    model = fit(exact)
    assert fit("auto", model).backend == fit("numpy", model).backend == model.backend == exact
    assert model.to(dtype="float32").backend == cr.backend(exact, dtype="float32")
    assert cr.backend(exact, compile=True) == cr.backend("numpy", dtype="float64")
    assert cr.backend(exact) is exact


def test_like_says_where_x_is_in_another_dtype() -> None:
    strict = cr.backend("array-api-strict:device1")
    there = strict.asarray(X)
    on = cr.backend(like=there, dtype="float64")
    model = cr.fit(NETWORK, there, strict.asarray(Y), loss="squared_error", epochs=1, backend=on)
    assert (model.backend.device, model.backend.info["dtype"]) == (strict.device, "float64")


REFUSED = {
    "twice": (
        lambda: cr.backend("torch:cuda", device=1),
        "'torch:cuda' names a device, got device=1 too: say it once.",
    ),
    "auto": (lambda: fit("auto:cuda"), "'auto' takes the library of the array, got 'auto:cuda': name the library, "),
    "a number": (lambda: fit(3), "expected a backend, got 3: write backend='torch', backend='torch:cuda', or "),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_says_it_twice_or_not_at_all_is_refused(what: str) -> None:
    call, says = REFUSED[what]
    with pytest.raises(cr.ConfigurationError, match=f"^{re.escape(says)}"):
        call()


def test_the_command_line_takes_it_in_one_option_or_in_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("a,y\n" + "".join(f"{i},{3 * i}.5\n" for i in range(40)))

    def run(command: str) -> int:
        monkeypatch.setattr("sys.argv", ["chainrule", *command.split()])
        return main()

    train = "train t.csv --target y --epochs 1 --hidden 4 --quiet --backend"
    assert run(f"{train} array-api-strict:device1 --out a") == 0
    assert run(f"{train} array-api-strict --device device1 --out b") == 0
    assert capsys.readouterr().out.count("Backend(array-api-strict, device=device1") == 2
    assert run("predict a/model.safetensors t.csv --backend numpy:cpu --out p.csv") == 0
    assert run("predict a/model.safetensors t.csv --backend numpy:cpu --device 0") == 1
    assert "--backend numpy:cpu names a device, got --device 0 too: say it once." in capsys.readouterr().err
