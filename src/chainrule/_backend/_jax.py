"""JAX: ``jax.numpy`` follows the standard by itself; a step is compiled by ``jax.jit`` with its state donated."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import numpy as np

from .._base.errors import BackendError, DataError, warn
from .._base.typing import Array, Device, DType, Namespace
from ._library import by_index, import_library, installed_version, no_such_device
from ._loop import Held, Loop, as_it_is, inside

NAME = "jax"
COMPILES = True  # eagerly each operation costs JAX more than the arithmetic in it
COMPILES_SOON = True
RECORDS = False
LOOPS = True
NUMPYS_BLAS = False


def load() -> Namespace:
    return import_library("jax.numpy", name="JAX", extra="jax")


def version() -> str:
    return installed_version("jax")


def owns(x: object) -> bool:
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(x, jax.Array)


def follows(x: Any) -> bool:
    import jax

    return isinstance(x, jax.core.Tracer)


def devices() -> list[Device]:
    jax = import_library("jax", name="JAX", extra="jax")
    found: list[Device] = jax.devices()
    with suppress(RuntimeError):  # where JAX_PLATFORMS leaves the CPU out
        found += [device for device in jax.devices("cpu") if device not in found]
    return found


def find_device(device: Any) -> Device:
    found = devices()
    if device is None:
        # jax_default_device is a device, a platform or None, and may be set for this thread alone: JAX knows best.
        return device_of(load().zeros(()))
    if isinstance(device, int):
        return by_index(found, device, name="JAX")
    for candidate in found:
        if device == candidate or str(device) in (str(candidate), f"{candidate.platform}:{candidate.id}"):
            return candidate
    for candidate in found:
        if str(device) in (candidate.platform, str(candidate).partition(":")[0]):  # "gpu" and "cuda" are one
            return candidate
    raise no_such_device(device, found, name="JAX")


def device_name(device: Device) -> str:
    return f"{device.platform}:{device.id}"


def device_of(x: Any) -> Device:
    return next(iter(_with_numbers(x).devices()))


def active(device: Device) -> AbstractContextManager[None]:
    """float32 means float32: by default JAX multiplies in TF32 on recent NVIDIA GPUs."""
    import jax

    precise: AbstractContextManager[None] = jax.default_matmul_precision("highest")
    return precise


def deterministic(device: Device) -> nullcontext[None]:
    flag = "--xla_gpu_deterministic_ops=true"
    if device.platform != "cpu" and flag not in os.environ.get("XLA_FLAGS", ""):
        raise BackendError(f"deterministic=True on a {device.platform} needs XLA_FLAGS={flag} before Python starts.")
    return nullcontext()


def pieces_from(device: Device) -> float:
    return 100_000


def memory(device: Device) -> None:
    return None


def to_device(x: Array, dtype: DType, device: Device) -> Array:
    import jax

    moved: Array = jax.device_put(jax.numpy.asarray(_with_numbers(x), dtype=dtype), device)
    return moved


def from_numpy(x: np.ndarray, device: Device) -> Array:
    import jax

    # A copy: device_put of a NumPy array may share its memory, and the step donates what it is given.
    made: Array = jax.device_put(jax.numpy.array(np.ascontiguousarray(x), copy=True), device)
    return made


def to_numpy(x: Array) -> np.ndarray:
    return np.asarray(_with_numbers(x))


def _with_numbers(x: Any) -> Any:
    """The array ``x``, where its numbers are known, and are still there."""
    if follows(x):
        raise DataError(
            "expected an array with numbers, got one that jax.jit, vmap or grad follows, whose numbers are not known "
            "yet: inside of these, ask a model that is on JAX, model.to('jax'), for predict or predict_proba, and do "
            "what needs numbers (labels, evaluate, fit) outside."
        )
    if x.is_deleted():
        raise DataError(
            f"expected an array with numbers, got one of shape {x.shape} that JAX has deleted, as it does with what is "
            "donated to a compiled function: make it again."
        )
    return x


def hand_out(x: Array) -> Array:
    return x


def compile(make: Callable[..., Callable[..., Any]], backend: Any, *arguments: Any) -> Callable[..., Any]:
    """``jax.jit`` with the state donated; where it cannot trace, the eager step runs and a warning says why, once."""
    step = make(backend, *arguments)
    return _Looped(step, backend) if isinstance(step, Loop) else _jitted(step, step, backend)


def _jitted(function: Callable[..., Any], otherwise: Callable[..., Any], backend: Any) -> Callable[..., Any]:
    import jax

    working = [jax.jit(function, donate_argnums=0)]

    def run(*arguments: Any) -> Any:
        try:
            with active(backend.device):
                return working[0](*arguments)
        except (jax.errors.JAXTypeError, jax.errors.JAXIndexError, jax.errors.UnexpectedTracerError) as error:
            # Tracing fails before any of the step has run, so nothing was donated.
            if working[0] is otherwise:
                raise
            working[0] = otherwise
            reason = str(error).strip().splitlines()[0]
            warn(f"jax.jit failed, the step runs uncompiled: {reason}", RuntimeWarning)
            return otherwise(*arguments)

    return run


class _Looped:
    """Several steps in one call: one program for any number of them, so that the bits do not depend on it.

    A call waits until the one before is done, so that the next is ready when it ends, and no more of them.
    """

    def __init__(self, step: Loop, backend: Any) -> None:
        import jax

        def several(state: Any, steps: Any, *inputs: Any) -> Any:
            return jax.lax.fori_loop(0, steps, lambda _, held: step.body(held, *inputs), state), steps

        def one_by_one(state: Any, steps: Any, *inputs: Any) -> Any:
            for _ in range(int(steps)):
                state = step.body(state, *inputs)
            return state, steps

        self._run, self._last = _jitted(several, one_by_one, backend), np.int32(0)
        around = step.before, step.after
        self._before, self._after = (f if f is as_it_is else jax.jit(f) for f in around)
        self._wait = jax.block_until_ready

    def __call__(self, state: Any, *inputs: Any) -> Any:
        return self.repeat(1, state, *inputs).whole

    def repeat(self, steps: int, state: Any, *inputs: Any) -> Held:
        """The state after as many steps on these arguments. They own ``state``, which may be held from before."""
        own = inside(state) if isinstance(state, Held) else self._before(state)
        own, done = self._run(own, np.int32(steps), *inputs)
        self._wait(self._last)
        self._last = done
        return Held(own, self._after)
