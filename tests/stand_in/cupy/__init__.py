"""A stand-in for CuPy that computes with NumPy, for tests on machines without a GPU.

Written from CuPy's documented behaviour. Where a real GPU would fail, be slow or be wrong without a word, this raises
or counts: an array knows its device, and nothing computes with an array of another device than the current one; NumPy
arrays are refused; nothing is converted unasked; whatever waits for the device is counted in ``counts``; memory is
accounted for; copies on a stream happen no sooner than somebody waits for them; a stream that is captured refuses what
CUDA refuses. What it cannot show: speed, races between kernels, and the last bits of a GPU's own functions.

CuPy itself, on the CUDA that ci/fake-cuda builds, takes its place in these tests and shows what the real pools,
streams, captures and kernels do. What this alone does: it needs no network and no build; it sorts; it refuses
NumPy's functions, an output that overlaps an input, a read on a stream of another device, and a host's array that is
overwritten before it was copied; it counts each boolean mask as a wait; and it can be made a machine without a driver
or with an old one.
"""

import collections
import types

import numpy as _np

from . import cuda as cuda

__version__ = "14.0.0"
counts = collections.Counter()  # "synchronisation": how often the host waited for the device's results


class ndarray:  # noqa: N801  # CuPy's name
    """An array of one device: ``_a`` has its numbers, ``_memory`` is what it takes of the device or looks into."""

    __array_ufunc__ = None  # NumPy's operators and functions refuse
    __hash__ = None

    def __init__(self, a, memory=None):
        self._a, self._memory = a, cuda.memory.Memory(a.nbytes) if memory is None else memory

    shape = property(lambda self: self._a.shape)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    dtype = property(lambda self: self._a.dtype)
    nbytes = property(lambda self: self._a.nbytes)
    flags = property(lambda self: self._a.flags)
    strides = property(lambda self: self._a.strides)
    itemsize = property(lambda self: self._a.itemsize)
    data = property(lambda self: types.SimpleNamespace(ptr=self._a.ctypes.data))
    device = property(lambda self: cuda.Device(self._memory.device))
    T = property(lambda self: _wrapped(_here(self).T, self))
    mT = property(lambda self: _wrapped(_here(self).mT, self))  # noqa: N815  # the standard's name

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed: use get().")

    def get(self):
        cuda.refuse_in_capture("a copy to the host")
        if cuda.get_current_stream().device_id not in (-1, self._memory.device):
            raise RuntimeError("get() reads on the current stream, which is of another device and does not wait for x")
        counts["synchronisation"] += 1
        cuda.synchronize(self._memory.device)
        return self._a.copy()

    def item(self):
        return self.get().item()

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __bool__(self):
        return self.get().__bool__()

    def __index__(self):
        return self.get().__index__()

    def __len__(self):
        return len(self._a)

    def __repr__(self):
        return f"cupy stand-in {self._a!r} on {self.device!r}"

    def set(self, host, stream=None):
        """The host's numbers, read when the copy's turn comes on the stream: not before somebody waits for it."""
        if not isinstance(host, _np.ndarray) or (host.dtype, host.shape) != (self.dtype, self.shape):
            raise TypeError("set takes a NumPy array of the same dtype and shape.")
        if not (self.flags.c_contiguous and host.flags.c_contiguous):
            raise RuntimeError("Cannot set a non-contiguous array.")
        cuda.refuse_in_capture("a copy from the host")
        given = host.tobytes()

        def copy():
            if host.tobytes() != given:
                raise RuntimeError("the host's array was overwritten before it was copied")
            _np.copyto(self._a, host)

        (stream or cuda.get_current_stream()).queue(copy)

    def fill(self, value):
        there = _bare(self)
        done(lambda: there.fill(value))

    def copy(self):
        """On the current device, wherever this is: with ``asarray`` the one way from device to device.

        Row by row, so that one with gaps has none when it travels.
        """
        return _noted(ndarray(self._a.copy()), lambda: self._a)

    def astype(self, dtype, copy=True):
        if not copy and self.dtype == dtype:
            return self
        there = _bare(self)
        return _noted(_wrapped(there.astype(dtype), self), lambda: there)

    def __getitem__(self, key):
        _count_mask(key)
        there, where = _here(self), _bare(key)
        return _noted(_wrapped(there[where], self), lambda: there[where], self)

    def __setitem__(self, key, value):
        _count_mask(key)
        _refuse_overlap(self, value)
        there, where, what = _bare(self), _bare(key), _bare(value)
        done(lambda: there.__setitem__(where, what))


def _here(x):
    """The numbers of an array of the current device; they may still be on their way."""
    if x._memory.device != cuda.runtime.getDevice():
        raise ValueError(f"an array of {x.device!r} is used while the current device is {cuda.Device()!r}")
    return x._a


def _bare(x):
    """What NumPy computes with in place of an argument. Raises for what CuPy would not take, or not take well."""
    if isinstance(x, ndarray):
        cuda.get_current_stream().drain()
        return _here(x)
    if isinstance(x, _np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}: a NumPy array among CuPy's")
    return type(x)(map(_bare, x)) if type(x) in (tuple, list) else x


def _wrapped(made, *sources):
    """A result of NumPy's as an array of the current device; a view shares its source's memory."""
    if isinstance(made, tuple | list):
        return type(made)(_wrapped(one, *sources) for one in made)
    if not isinstance(made, _np.ndarray | _np.generic):
        return made
    made = _np.asarray(made)
    for source in sources:
        if isinstance(source, ndarray) and made.size and _np.may_share_memory(made, source._a):
            return ndarray(made, source._memory)
    return ndarray(made)


def _refuse_overlap(out, *inputs):
    """A kernel that writes over its own other input is right or wrong by the order of its threads."""
    for x in inputs:
        if isinstance(x, ndarray) and x is not out and _np.may_share_memory(x._a, out._a):
            same = x._a.__array_interface__["data"] == out._a.__array_interface__["data"] and x.shape == out.shape
            if not (same and x._a.strides == out._a.strides):
                raise ValueError("the output overlaps an input")


def _count_mask(key):
    """The host reads how many entries a mask chooses, to read by it as to write by it."""
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, ndarray) and part.dtype == _np.bool_:
            cuda.refuse_in_capture("a boolean mask")
            counts["synchronisation"] += 1


def _noted(made, again, *sources):
    """``made``, which a launch of the graph that is being captured makes anew by ``again``; views are in its memory."""
    graph = cuda.get_current_stream().graph
    parts = [part for part in (made if isinstance(made, tuple | list) else [made]) if isinstance(part, ndarray)]
    taken = [source._a for source in sources if isinstance(source, ndarray)]
    if graph is not None and parts and not [1 for part in parts for a in taken if _np.may_share_memory(part._a, a)]:

        def work():
            results = again()
            for part, result in zip(parts, results if isinstance(results, tuple | list) else [results], strict=True):
                _np.copyto(part._a, result)

        graph.note(work, *(part._a for part in parts))
    return made


def done(work):
    """Do what writes over an array, or leave it to the launches of the graph that is being captured."""
    graph = cuda.get_current_stream().graph
    work() if graph is None else graph.note(work)


def _lifted(function, *, captures=True):
    """A function of NumPy's as one of this module's; ``captures``: it can be recorded in a CUDA graph."""

    def lifted(*arguments, out=None, **named):
        if not captures:
            cuda.refuse_in_capture(function.__name__)
        bare = [_bare(x) for x in arguments]
        named = {name: _bare(value) for name, value in named.items()}
        if out is None:
            made = _wrapped(function(*bare, **named), *arguments)
            return _noted(made, lambda: function(*bare, **named), *arguments)
        _refuse_overlap(out, *arguments)
        there = _bare(out)
        done(lambda: function(*bare, out=there, **named))
        return out

    lifted.__name__ = function.__name__
    return lifted


def array(x, dtype=None, copy=True):
    """From the host, or from another device: the ways in."""
    if isinstance(x, ndarray):
        here = x._memory.device == cuda.runtime.getDevice()
        if not here and not (x.flags.c_contiguous or x.flags.f_contiguous):
            raise NotImplementedError("CuPy cannot copy non-contiguous array between devices.")
        x = x if here else x.copy()
        return x.astype(x.dtype if dtype is None else dtype, copy=copy and here)
    if isinstance(x, _np.ndarray):
        cuda.refuse_in_capture("a copy from the host")
    return ndarray(_np.array(x, dtype=dtype))


def asarray(x, dtype=None):
    return array(x, dtype, copy=False)


def asnumpy(x):
    return x.get() if isinstance(x, ndarray) else _np.asarray(x)


def empty(shape, dtype=_np.float64):
    """Filled with what nobody should read."""
    kind = _np.dtype(dtype).kind
    made = ndarray(_np.full(shape, _np.nan if kind == "f" else 99 if kind in "iu" else False, dtype))
    graph = cuda.get_current_stream().graph
    if graph is not None:
        graph.keep(made._a)
    return made


def empty_like(x, dtype=None):
    return empty(x.shape, x.dtype if dtype is None else dtype)


def _concatenate(arrays, axis=0):
    """Of more than eight small arrays the host hands their addresses over."""
    small = _np.mean([x.nbytes for x in arrays]) < 2**21
    if len(arrays) > 8 and len({x.dtype for x in arrays}) == 1 and small:
        cuda.refuse_in_capture("a copy from the host")
    return _lifted(_np.concatenate)(arrays, axis=axis)


def _sign(x, /):
    """0 for NaN, as versions before 14.2 have it."""
    return _np.nan_to_num(_np.sign(x), nan=0)


def get_default_memory_pool():
    return cuda.memory.pool


def get_default_pinned_memory_pool():
    return cuda.pinned_memory_pool


class RawModule:
    """CUDA C++ that runs on the host, thread by thread."""

    def __init__(self, *, code, options=()):
        from cuda_on_cpu import HostModule

        _check_tuples(options)
        self._module = HostModule(code, options)

    def get_function(self, name):
        try:
            function = self._module.get_function(name)
        except RuntimeError as error:  # what the compiler says
            raise cuda.compiler.CompileException(str(error)) from error

        def launch(grid, block, args, shared_mem=0):
            _check_tuples(grid, block)
            function.max_dynamic_shared_size_bytes = launch.max_dynamic_shared_size_bytes
            bare = tuple(map(_bare, args))
            done(lambda: function(grid, block, bare, shared_mem=shared_mem))

        launch.max_dynamic_shared_size_bytes = function.max_dynamic_shared_size_bytes
        return launch


def _check_tuples(*given):
    """CuPy takes no other sequences here."""
    for one in given:
        if type(one) is not tuple:
            raise TypeError(f"expected tuple, got {type(one).__name__}")


def _lift_all():
    functions = _np.ufunc, types.FunctionType, types.BuiltinFunctionType, type(_np.sum)
    for name in _np.__all__:
        if name not in globals():
            theirs = getattr(_np, name)
            captures = name not in ("matmul", "dot", "tensordot")
            globals()[name] = _lifted(theirs, captures=captures) if isinstance(theirs, functions) else theirs
    for name in ("unstack", "vecdot"):  # CuPy 14 has none
        globals().pop(name, None)
    globals().update(sign=_lifted(_sign), clip=_lifted(_np.clip), concatenate=_concatenate, concat=_concatenate)


def _give_operators():
    named = {
        "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "pow": "power",
        "floordiv": "floor_divide", "mod": "remainder", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
        "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift", "lt": "less", "le": "less_equal",
        "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
    }  # fmt: skip
    for short, name in named.items():
        function = globals()[name]
        setattr(ndarray, f"__{short}__", lambda x, y, f=function: f(x, y))
        setattr(ndarray, f"__r{short}__", lambda x, y, f=function: f(y, x))
        setattr(ndarray, f"__i{short}__", lambda x, y, f=function: f(x, y, out=x))
    for short, name in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
        function = globals()[name]
        setattr(ndarray, f"__{short}__", lambda x, f=function: f(x))


_lift_all()
_give_operators()

from . import fft as fft  # noqa: E402  # they lift functions too
from . import linalg as linalg  # noqa: E402
