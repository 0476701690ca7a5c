"""A backend: an array library, a device and a dtype, chosen once and handed to everything below the user.

Inside the mathematics ``backend.xp`` is the array API namespace; nothing there names a library. ``asarray`` is the
only way in, ``to_numpy`` the only way out and the only synchronisation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from .._base.errors import BackendError, ConfigurationError, DataError, DTypeError, require, unknown_name
from .._base.options import flag
from .._base.typing import Array, Device, DType, Namespace
from . import _cupy, _dpnp, _jax, _numpy, _strict, _torch
from ._blas_threads import predicting_threads, training_threads
from ._library import Library, Memory, is_gpu, on_a_gpu
from ._precision import PRECISIONS, find_precision

LIBRARIES: Mapping[str, Library] = MappingProxyType(
    {"numpy": _numpy, "cupy": _cupy, "torch": _torch, "jax": _jax, "dpnp": _dpnp, "array-api-strict": _strict}
)
_ALSO_CALLED = {
    "np": "numpy",
    "cp": "cupy",
    "pytorch": "torch",
    "jnp": "jax",
    "xla": "jax",
    "sycl": "dpnp",
    "xpu": "dpnp",
}
DTYPES = ("float32", "float64")

Result = TypeVar("Result")
Provider = Callable[..., Any]


@dataclass(frozen=True)
class Backend:
    """An array library, a device and a dtype: what ``cr.backend("torch:cuda")`` makes, and a layer computes with.

    Attributes:
        library: the library's part of this one.
        xp: its namespace of the array API standard (2024.12): ``backend.xp.exp(z)``.
        device: the library's own object.
        dtype: the library's own float32 or float64.
        compiled: whether steps are.
        precision: of the products of ``Dense`` in float32: ``"float32"``, ``"tf32"`` or ``"bf16"``.
        kernels: whether faster bodies run where there are some, or every equation as it is written.
        deterministic: whether all is forbidden that would make two training runs on one machine differ.
        providers: from an operation's reference body to this library's faster body of it.
        copies: whether no array shares memory with what it was made from.
        kept: what faster bodies made of operands in one pass forward and back, by ``id``; None outside of a pass.
        loops: whether Numba's run in compiled steps on NumPy; None: in each training that is long enough.
        products: ``"mkl"`` or ``"numpy"``, whose BLAS multiplies where Numba's loops run; None: MKL's where it can be.

    Example:
        >>> import chainrule as cr
        >>> backend = cr.backend("numpy")
        >>> z = backend.asarray([[0, 3], [4, 0]])
        >>> z.dtype, backend.to_numpy(backend.xp.max(z, axis=-1)).tolist(), backend.zeros((1, 2)).tolist()
        (dtype('float32'), [3.0, 4.0], [[0.0, 0.0]])
    """

    library: Library
    xp: Namespace
    device: Device
    dtype: DType
    compiled: bool
    precision: str = "float32"
    kernels: bool = True
    deterministic: bool = False
    providers: Mapping[Provider, Provider] = field(default_factory=dict, compare=False, repr=False)
    copies: bool = field(default=False, compare=False, repr=False)
    kept: dict[int, tuple[Array, Array]] | None = field(default=None, compare=False, repr=False)
    loops: bool | None = field(default=None, compare=False, repr=False)
    products: str | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The library's name, as given to ``backend=``."""
        return self.library.NAME

    @property
    def device_name(self) -> str:
        """The device as a string that ``device=`` understands."""
        return self.library.device_name(self.device)

    @property
    def info(self) -> dict[str, object]:
        """What runs: library, version, device, dtype, whether steps are compiled, which operations have a faster body,
        by whom (none with ``kernels=False``), the precision of products where it is not the dtype's, whether it is
        deterministic where it is, and the BLAS of compiled steps where it is not NumPy's. A trained model's backend has
        Numba's bodies where these trained it.
        """
        return {
            "name": self.name,
            "version": self.library.version(),
            "device": self.device_name,
            "dtype": dtype_name(self.dtype),
            "compiled": self.compiled,
            "kernels": {reference.__name__: _origin(body) for reference, body in self.providers.items()},
            **({} if self.precision == "float32" else {"precision": self.precision}),
            **({"deterministic": True} if self.deterministic else {}),
            **({"products": "mkl"} if self.products == "mkl" else {}),
        }

    @property
    def settings(self) -> dict[str, Any]:
        """What ``cr.backend`` makes it from, in plain names, which unlike modules and devices can be pickled."""
        return {
            "name": self.name,
            "device": self.device_name,
            "dtype": dtype_name(self.dtype),
            "compile": self.compiled,
            "precision": self.precision,
            "kernels": self.kernels,
            "deterministic": self.deterministic,
        }

    def repeatable(self) -> AbstractContextManager[None]:
        """Where it is deterministic: while it lasts, nothing runs whose result may differ on one machine."""
        return self.library.deterministic(self.device) if self.deterministic else nullcontext()

    @property
    def memory(self) -> Memory | None:
        """The device's memory: ``memory.free()`` bytes are; None where it is the host's, or is not looked after."""
        return self.library.memory(self.device)

    def bytes_to_move(self, x: Any) -> int:
        """How many bytes of the device's memory ``x`` would take; 0 for what is an array of this library."""
        shape = () if self.library.owns(x) else getattr(x, "shape", ())
        return math.prod(shape) * np.dtype(dtype_name(self.dtype)).itemsize if shape else 0

    def active(self) -> AbstractContextManager[object]:
        """While it lasts, new arrays lie on this device, on CuPy too: what computes, does it inside."""
        return self.library.active(self.device)

    def training(self, multiplications: int) -> AbstractContextManager[object]:
        """While it lasts, NumPy's BLAS has the threads that pay where the largest product takes so many of these."""
        return training_threads(multiplications) if self.library.NUMPYS_BLAS else nullcontext()

    def predicting(self, multiplications: int) -> AbstractContextManager[object]:
        """The same for a prediction, which leaves to a training what it has."""
        return predicting_threads(multiplications) if self.library.NUMPYS_BLAS else nullcontext()

    def __repr__(self) -> str:
        compiled = ", compiled" if self.compiled else ""
        precision = "" if self.precision == "float32" else f", precision={self.precision}"
        kernels = "" if self.kernels else ", kernels=False"
        steady = ", deterministic" if self.deterministic else ""
        where = f"{self.name}, device={self.device_name}, dtype={dtype_name(self.dtype)}"
        return f"Backend({where}{compiled}{precision}{kernels}{steady})"

    def run(self, reference: Callable[..., Result], *arguments: Any) -> Result:
        """``reference(backend, *arguments)``, by this library's faster body where it has one that does not decline."""
        provider = self.providers.get(reference) if self.kernels else None
        result = NotImplemented if provider is None else provider(self, *arguments)
        return reference(self, *arguments) if result is NotImplemented else result

    def asarray(self, x: Any, dtype: DType | None = None) -> Array:
        """``x`` as an array of this backend; the only way in.

        Args:
            x: an array of any library, or lists.
            dtype: of the library's own; default the backend's. A number too large for it becomes infinite.

        Raises:
            DataError: it cannot be read as an array.
        """
        dtype = self.dtype if dtype is None else dtype
        if self.library.owns(x):
            moved = self.library.to_device(x, dtype, self.device)
        else:
            x = to_host(x)
            # Converted on the host, so that half the bytes travel when float64 data becomes float32.
            with np.errstate(over="ignore"):  # a number too large becomes an infinity, on every backend
                moved = self.library.from_numpy(np.asarray(x, dtype=dtype_name(dtype)), self.device)
        return self._own(moved, x, dtype) if self.copies else moved

    def _own(self, moved: Array, x: Any, dtype: DType) -> Array:
        """A copy, unless ``moved`` is one already: of another library, device or dtype than ``x``."""
        on_its_device = self.library.owns(x) and self.library.device_of(x) == self.device
        return self.copy(moved) if on_its_device and dtype_name(x.dtype) == dtype_name(dtype) else moved

    def copying(self) -> Backend:
        """The same, which copies what it would not convert: for arrays that are filled anew after they were given."""
        return replace(self, copies=True)

    def for_a_pass(self) -> Backend:
        """The same for one pass forward and back, in which no array changes: what is made of one serves twice."""
        return replace(self, kept={}) if self.precision == "bf16" else self

    def copy(self, x: Array) -> Array:
        """A copy that no donated step can overwrite."""
        return self.xp.asarray(x, copy=True)

    def zeros(self, shape: tuple[int, ...], dtype: DType | None = None) -> Array:
        """Zeros on this device.

        Args:
            shape: of the array, ``(1, n_out)``.
            dtype: of the library's own; default the backend's.
        """
        return self.xp.zeros(shape, dtype=self.dtype if dtype is None else dtype, device=self.device)

    def to_numpy(self, x: Array) -> np.ndarray:
        """``x`` on the host: the only way out, and the only synchronisation."""
        return self.library.to_numpy(x)

    def compiling(self, parts: Iterable[object]) -> Backend:
        """The same, uncompiled where it records and one of a step's parts may not be recorded.

        Nor may a function in a part of ours (``cr.Activation``), which with kernels is called in every step.
        """
        parts = list(parts)
        attributes = [x for part in parts for x in getattr(part, "__dict__", {}).values()]
        held = [x for x in attributes if callable(x) and x not in parts and not self.kernels]
        traceable = all(_is_traceable(kind) for kind in map(type, parts))
        traceable = traceable and all(type(x).__module__.startswith("chainrule.") for x in held)
        return self if traceable or not self.library.RECORDS else replace(self, compiled=False)

    def compile(self, make: Callable[..., Callable[..., Result]], *arguments: Any) -> Callable[..., Result]:
        """The step ``make(backend, *arguments)``, compiled where the backend does so; its first argument is donated.

        It is made here, not before, because NumPy records it on a namespace of its own. The step itself is correct.
        """
        return self.library.compile(make, self, *arguments) if self.compiled else make(self, *arguments)


def reference_backend(
    name: str | Backend = "auto",
    *,
    device: Any = None,
    dtype: Any = None,
    compile: bool | None = None,
    precision: str | None = None,
    kernels: bool | None = None,
    deterministic: bool | None = None,
    like: Any = None,
) -> Backend:
    """The backend that ``cr.backend`` documents, without faster bodies: references run."""
    flags = {"compile": compile, "kernels": kernels, "deterministic": deterministic}
    _check_said(device, precision, flags)
    if isinstance(name, Backend):
        said = {"device": device, "dtype": dtype, "precision": precision, **flags}
        changed = {option: value for option, value in said.items() if value is not None}
        return reference_backend(**{**name.settings, **changed}) if changed else name
    name, device = name_and_device(name, device)
    owner = library_of(like)
    if name == "auto":
        library = owner or _numpy
    elif name in LIBRARIES:
        library = LIBRARIES[name]
    else:
        raise unknown_name("backend", name, ["auto", *LIBRARIES], _meant_by(name))
    xp = library.load()
    found_device = library.find_device(library.device_of(like) if device is None and owner is library else device)
    found_dtype = _find_dtype(library, xp, found_device, dtype)
    compiled = library.COMPILES if compile is None else bool(compile)
    if deterministic:
        library.deterministic(found_device)  # raises where the library had to be told before
    found_precision = find_precision(library.NAME, found_device, dtype_name(found_dtype), compiled, precision)
    return Backend(
        library,
        xp,
        found_device,
        found_dtype,
        compiled,
        found_precision,
        kernels=kernels is None or bool(kernels),
        deterministic=bool(deterministic),
    )


def available_backends() -> list[dict[str, object]]:
    """Every backend with ``name``, ``version``, ``devices``, and ``problem``: why it cannot run, or None.

    It imports every library that is installed, which may take seconds. A version is None where none is installed.

    Example:
        >>> import chainrule as cr
        >>> numpy = next(row for row in cr.available_backends() if row["name"] == "numpy")
        >>> numpy["devices"], numpy["problem"]
        (['cpu'], None)
    """
    rows: list[dict[str, object]] = []
    for name, library in LIBRARIES.items():
        row: dict[str, object] = {"name": name, "version": library.version(), "devices": [], "problem": None}
        try:
            library.load()
            library.find_device(None)  # raises where a device is there and does not work
            row["devices"] = [library.device_name(device) for device in library.devices()]
        except BackendError as error:
            row["problem"] = str(error)
        rows.append(row)
    return rows


def library_of(x: object) -> Library | None:
    """The library whose array ``x`` is, or None; imports nothing."""
    for library in LIBRARIES.values():
        if library.owns(x):
            return library
    return None


def follower(x: object) -> Library | None:
    """The library that follows what is done with ``x``, to differentiate or to compile it, or None."""
    owner = None if isinstance(x, np.ndarray) else library_of(x)
    return owner if owner is not None and owner.follows(x) else None


def to_host(x: Any) -> np.ndarray:
    """``x``, an array of any library, a frame or a list, as a NumPy array."""
    owner = library_of(x)
    if owner is not None:
        return owner.to_numpy(x)
    try:
        # Of what speaks DLPack alone np.asarray would make one object.
        return np.from_dlpack(x) if hasattr(x, "__dlpack__") and not hasattr(x, "__array__") else np.asarray(x)
    except (
        BufferError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:  # whatever the library of an item in a list raises
        raise DataError(f"expected an array, got a {type(x).__name__} that NumPy cannot read ({error}).") from error


def map_numbers(f: Callable[[Namespace, Array], Array], z: Any) -> Any:
    """``f(xp, z)`` of real numbers outside of any backend: an array in its own library, a list as NumPy's, a number.

    Raises DTypeError for what is no real number.
    """
    owner = library_of(z) or _numpy
    given = z if owner.owns(z) else to_host(z)
    xp = owner.load()
    if not hasattr(given, "dtype") or not _are_real(xp, given):
        kind = getattr(given, "dtype", type(z).__name__)
        raise DTypeError(f"expected an array, a list or a number, of real numbers, got {z!r:.60} of type {kind}.")
    with nullcontext() if owner.follows(given) else owner.active(owner.device_of(given)):
        if not xp.isdtype(given.dtype, "real floating"):
            default = xp.__array_namespace_info__().default_dtypes(device=None)["real floating"]
            given = xp.astype(given, default)
        result: Any = f(xp, given)
    return result.item() if owner is _numpy and given.ndim == 0 and not isinstance(z, np.ndarray) else result


def _are_real(xp: Namespace, x: Array) -> bool:
    if isinstance(x, np.ndarray | np.generic) and x.dtype.kind not in "biuf":
        return False  # text, dates and objects, of which the standard does not know
    return bool(xp.isdtype(x.dtype, ("bool", "integral", "real floating")))


def returned(backend: Backend, x: Array, given: Any) -> Any:
    """``x``, an array of the backend, in the library and on the device of what the user gave; else NumPy's."""
    owner = library_of(given)
    if owner is backend.library and owner.device_of(given) == backend.device:
        return x
    host = backend.to_numpy(x)
    if owner is None:
        return host
    made = owner.from_numpy(host, owner.device_of(given))
    return made if made.ndim == host.ndim else owner.load().reshape(made, host.shape)  # a single number got an axis


def dtype_name(dtype: DType) -> str:
    """The NumPy name of any library's dtype: ``float32``."""
    if isinstance(dtype, str):
        return dtype
    if isinstance(dtype, np.dtype):
        return _numpys_name(dtype)
    if isinstance(dtype, type):
        return np.dtype(dtype).name
    return str(getattr(dtype, "name", dtype)).rsplit(".", 1)[-1].removeprefix("array_api_strict.")


def _is_traceable(kind: type) -> bool:
    """Whether what a part of this class does may be recorded: it is ours, or says itself ``traceable = True``.

    One of the user's may draw random numbers or count outside of its arrays, which a recording would freeze unseen; so
    may a class that inherits from one that says it does not.
    """
    ours = kind.__module__.split(".")[0] in ("chainrule", "builtins")
    return ours or bool(vars(kind).get("traceable", False))


def _origin(body: Provider) -> str:
    """``numba`` for a body in _kernels/_numba.py."""
    return body.__module__.rpartition("._")[2]


@lru_cache
def _numpys_name(dtype: np.dtype) -> str:
    return dtype.name  # put together from parts at each call, which is slow beside a small prediction


def _check_said(device: Any, precision: Any, flags: Mapping[str, Any]) -> None:
    if hasattr(device, "__len__") and not isinstance(device, str):
        raise ConfigurationError(f"device must be an index, a name or the library's own object, got {device!r:.60}.")
    for option, value in flags.items():
        if value is not None:
            flag(option, value)
    known = precision is None or (isinstance(precision, str) and precision in PRECISIONS)
    require(known, f"precision must be 'float32', 'tf32' or 'bf16', got {precision!r:.60}.")


def _meant_by(name: str) -> str:
    """What to write for a word that is no library of ours."""
    if is_gpu(name):
        return f"{on_a_gpu()}."
    return f"write {_ALSO_CALLED[name.lower()]!r}." if name.lower() in _ALSO_CALLED else ""


def name_and_device(name: Any, device: Any = None) -> tuple[str, Any]:
    """``("torch", "cuda:1")`` for ``"torch:cuda:1"``, ``("cupy", 1)`` for ``"cupy:1"``."""
    if not isinstance(name, str):
        raise ConfigurationError(
            f"expected a backend, got {name!r:.60}: write backend='torch', backend='torch:cuda', or cr.backend(...)."
        )
    library, _, place = name.partition(":")
    if not place:
        return library, device
    require(device is None, f"{name!r} names a device, got device={device!r:.60} too: say it once.")
    require(library != "auto", f"'auto' takes the library of the array, got {name!r}: name the library, 'torch:cuda'.")
    return library, int(place) if place.isdecimal() else place


def _find_dtype(library: Library, xp: Namespace, device: Device, dtype: Any) -> DType:
    name = "float32" if dtype is None else dtype_name(dtype)
    if name not in DTYPES:
        raise DTypeError(f"dtype must be 'float32' or 'float64', got {dtype!r}.")
    if name not in xp.__array_namespace_info__().dtypes(device=device, kind="real floating"):
        fix = (
            "call jax.config.update('jax_enable_x64', True) before any array is made, or set JAX_ENABLE_X64=1"
            if library.NAME == "jax"
            else "use dtype='float32' or another device"
        )
        raise DTypeError(f"{library.NAME} on {library.device_name(device)} has no {name}: {fix}.")
    return getattr(xp, name)
