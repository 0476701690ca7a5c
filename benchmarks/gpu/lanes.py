"""A contender in a process of its own: one that fails, or is killed because its time is up, takes no other with it."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import jax_scan, ours, products, reference, torch_forms
from .equality import Found
from .ladder import COMPILED_TORCH, ON_COMPILED_TORCH, REFERENCE, Rung
from .runners import DeviceName, NotMeasuredError, Runner

CONTENDERS: Mapping[str, Callable[[Rung, DeviceName], Runner]] = {
    REFERENCE: reference.float64,
    "ours: default": ours.default,
    "ours: compile=True": ours.compiled,
    "trial: steps in one graph": ours.steps_in_one_graph,
    "trial: one kernel": ours.one_kernel,
    "trial: epilogues": ours.epilogues,
    "on torch: default": ours.on_torch,
    ON_COMPILED_TORCH: ours.on_torch_compiled,
    "on jax: jit": ours.on_jax,
    "torch: eager": torch_forms.eager,
    "torch: in a graph": torch_forms.graph,
    COMPILED_TORCH: torch_forms.compiled_graph,
    "jax: scan": jax_scan.scan,
    "floor: torch.mm": products.torch_mm,
    "fit: on the device": ours.fit_on_device,
    "fit: on NumPy": ours.fit_on_numpy,
}


class Lane:
    """A contender, seen from the parent. Its process starts with the first rung, and again after it was killed."""

    def __init__(self, name: str, device: DeviceName) -> None:
        self.name, self._place = name, device
        self.preparation = 0.0  # seconds, the last; 0 for one with imports in it
        self._asked = 0.0  # when
        self._process: Any = None
        self._connection: Any = None

    def begin(self, rung: Rung) -> None:
        """Ask it to get ready; several get ready at once."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=work, args=(theirs, self.name, self._place), daemon=True)
            self._process.start()
            theirs.close()
        self._send(rung)

    def first(self, patience: float) -> Found:
        """The results of its first steps, once it is ready; killed where that takes more seconds than these."""
        try:
            self.preparation, results = self._answer(patience)
        except NotMeasuredError:
            self.preparation = time.monotonic() - self._asked
            raise
        return results

    def seconds(self, least: float, patience: float) -> float:
        """Of a step or a call, over at least so many."""
        self._send(least)
        return float(self._answer(patience))

    def close(self) -> None:
        """End its process, which gives all its memory back."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
        self._process = self._connection = None

    def _send(self, message: Rung | float) -> None:
        self._asked = time.monotonic()
        try:
            self._connection.send(message)
        except OSError:
            self.close()
            raise NotMeasuredError("its process has ended.") from None

    def _answer(self, patience: float) -> Any:
        try:
            if not self._connection.poll(max(0.0, patience)):
                self.close()
                raise NotMeasuredError(f"it had not answered after {time.monotonic() - self._asked:.0f} s.")
            answer, problem = self._connection.recv()
        except (EOFError, OSError):
            self.close()
            raise NotMeasuredError("its process has ended.") from None
        if problem is not None:
            raise NotMeasuredError(problem)
        return answer


def work(connection: Any, name: str, device: DeviceName) -> None:
    """Answer the parent until it ends or is killed."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # else JAX takes three quarters of the device
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    else:  # Inductor keeps what it made on disk as it is
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "chainrule-gpu-jax"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    with suppress(EOFError, ConnectionError):
        _answer(connection, CONTENDERS[name], device)


def _answer(connection: Any, make: Callable[[Rung, DeviceName], Runner], device: DeviceName) -> None:
    """An answer is a value and None, or None and a sentence on what went wrong."""
    runner: Runner | None = None
    imported = False
    while True:
        message = connection.recv()
        started = time.perf_counter()
        answer: Any = None
        problem: str | None = None
        try:
            if isinstance(message, Rung):
                runner = None  # its memory is free before the next one is made
                runner = make(message, device)
                first = runner.first()
                answer = time.perf_counter() - started if imported else 0.0, first
                imported = True
            elif runner is not None and runner.seconds is not None:
                answer = runner.seconds(message)
        except NotMeasuredError as reason:
            problem = str(reason)
        except Exception as error:  # whatever a peer's compiler or a device raises
            problem = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        connection.send((answer, problem))
