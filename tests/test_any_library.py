"""What a user does, on every library that there is: a new backend is whole when this and the contracts pass on it.

Nothing here names a library; a line in LIBRARIES is all that it takes to be tried.
"""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_case import Case, check
from conftest import REQUIRED

import chainrule as cr
from chainrule._backend import LIBRARIES, Backend, dtype_name, library_of

RNG = np.random.default_rng(5)
X = RNG.normal(size=(64, 3)).astype("float32")
Y = (X[:, 0] > X[:, 1]).astype(int)
NETWORK = cr.mlp([3, 8, 2], dropout=0.3, normalization="batch")
HOUSE, PAGE = Path(cr.__file__).parent, Path(__file__).parent.parent / "docs" / "backends.md"


@pytest.fixture(params=LIBRARIES)
def on(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """A backend of each library, on its last device, which as a rule is not the default."""
    problem = problems()[request.param]
    assert problem is None or request.param not in REQUIRED, problem
    if problem is not None:
        pytest.skip(problem)
    made = cr.backend(request.param, device=LIBRARIES[request.param].devices()[-1])
    with made.active():
        yield made


@cache
def problems() -> dict[str, str | None]:
    return {str(row["name"]): row["problem"] and str(row["problem"]) for row in cr.available_backends()}


def given(on: Backend) -> tuple[Any, Any]:
    return on.asarray(X), on.library.from_numpy(Y, on.device)


def fit(network: Any, X: Any, y: Any, **options: Any) -> cr.Model:
    loss = None if isinstance(network, cr.Model) else "softmax_cross_entropy"
    return cr.fit(network, X, y, **{"loss": loss, "epochs": 2, "batch_size": 16, "seed": 3} | options)


def host(x: Any) -> np.ndarray:
    owner = library_of(x)
    assert owner is not None
    return np.array(owner.to_numpy(x))


def test_it_trains_where_x_is_as_numpy_does_and_answers_there(on: Backend) -> None:
    x, y = given(on)
    model, numpys = fit(NETWORK, x, y), fit(NETWORK, X, Y)
    assert (model.backend.library, model.backend.device, dtype_name(model.backend.dtype)) == (
        on.library,
        on.device,
        "float32",
    )
    np.testing.assert_allclose(host(model.theta), numpys.theta, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.history["loss"], numpys.history["loss"], rtol=1e-4)
    for answer in (model.predict(x), model.predict_proba(x), numpys.predict_proba(x)):
        assert on.library.owns(answer)
        assert on.library.device_of(answer) == on.device
    assert isinstance(model.predict_proba(X), np.ndarray)
    assert model.evaluate(x, y) == model.evaluate(X, Y)
    counts = cr.confusion_matrix(y, model.predict(x), classes=2)
    np.testing.assert_array_equal(counts, cr.confusion_matrix(Y, model.predict(X), classes=2))


def test_the_users_arrays_and_the_models_stay_apart(on: Backend) -> None:
    x, y = given(on)
    model = fit(NETWORK, x, y)
    theta = model.theta
    before = host(theta)
    fit(model, x, y)
    np.testing.assert_array_equal(host(x), X)
    np.testing.assert_array_equal(host(y), Y)
    np.testing.assert_array_equal(host(theta), before)
    with suppress(ValueError):  # NumPy's cannot be written into
        theta *= 0.0
    np.testing.assert_array_equal(host(model.theta), before)


def test_a_model_goes_to_a_file_a_pickle_and_another_library_and_back(on: Backend, tmp_path: Path) -> None:
    model = fit(NETWORK, *given(on))
    model.save(tmp_path / "model.safetensors")
    where = f"{on.name}:{on.device_name}"
    loaded = cr.load(tmp_path / "model.safetensors", backend=where)
    assert (loaded.backend.library, loaded.backend.device) == (on.library, on.device)
    for other in (loaded, pickle.loads(pickle.dumps(model)), model.to("numpy"), model.to("numpy").to(where)):
        np.testing.assert_array_equal(host(other.theta), host(model.theta))


def test_a_training_that_goes_on_is_one_that_was_never_broken_off(on: Backend, tmp_path: Path) -> None:
    x, y = given(on)
    fit(NETWORK, x, y, checkpoint=cr.Checkpoint(tmp_path))
    gone_on = fit(NETWORK, x, y, checkpoint=cr.Checkpoint(tmp_path, resume=True), epochs=4)
    np.testing.assert_array_equal(host(gone_on.theta), host(fit(NETWORK, x, y, epochs=4).theta))


def test_it_repeats_itself_to_the_bit_or_refuses_to_promise_it(on: Backend) -> None:
    refusal = ""
    try:
        steady = cr.backend(on, deterministic=True)
    except cr.BackendError as error:
        refusal = str(error)
    if refusal:
        assert re.fullmatch(r".*deterministic=True.+\.", refusal)
        return
    first, second = (fit(NETWORK, X, Y, backend=steady).theta for _ in range(2))
    np.testing.assert_array_equal(host(first), host(second))


def test_its_devices_are_found_by_index_by_name_and_as_they_are(on: Backend) -> None:
    library = on.library
    for i, device in enumerate(library.devices()):
        name = library.device_name(device)
        assert library.find_device(i) == library.find_device(name) == library.find_device(device) == device
    assert library.find_device(None) in library.devices()
    for nowhere in (99, "gpu:99", "nowhere"):
        says = re.escape(f"has no device {nowhere!r} on this machine; it has 0 (")
        check(Case(lambda nowhere=nowhere: cr.backend(on.name, device=nowhere), cr.BackendError, says))


@pytest.mark.parametrize("layout", ["reversed", "swapped", "transposed", "broadcast", "read-only", "empty", "a number"])
def test_whatever_numpy_has_comes_in_and_out(on: Backend, layout: str) -> None:
    numbers = {
        "reversed": X[::-1, ::-2],
        "swapped": X.astype(X.dtype.newbyteorder()),
        "transposed": X.T,
        "broadcast": np.broadcast_to(np.float32(3.0), (4, 2)),
        "read-only": np.frombuffer(X.tobytes(), dtype=np.float32),
        "empty": X[:0],
        "a number": np.asarray(np.float32(2.5)),
    }[layout]
    np.testing.assert_array_equal(host(on.asarray(numbers)).reshape(numbers.shape), numbers)


def test_the_page_lists_what_is_asked_of_a_namespace() -> None:
    listed = re.search(r"asks for these names of the standard.*?```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert listed is not None
    assert listed[1].split() == sorted(asked())


def asked() -> set[str]:
    """The names of ``xp`` in everything that runs on any library."""
    found = {"float32", "float64"}  # by getattr, in _backend
    for source in HOUSE.rglob("*.py"):
        room, name = source.relative_to(HOUSE).parts[0], source.name
        if room == "_kernels" or (room == "_backend" and name != "__init__.py"):
            continue
        for node in ast.walk(ast.parse(source.read_text())):
            match node:
                case ast.Attribute(value=ast.Name(id="xp") | ast.Attribute(attr="xp"), attr=attribute):
                    found.add(attribute)
    return found
