"""What the card does while it is measured: clocks, power, temperature and why it is slower than it could be, by NVML.

Before and after a run a card idles at a fifth of its clocks, so nothing but a sample in between says at which it ran.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

# nvml.h: nvmlClocksEventReasons. Idling, and the clocks that somebody has set, are no throttling.
REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "synchronised boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
_SM, _MEMORY, _TEMPERATURE = 1, 2, 0  # NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU
EVERY = 0.02  # seconds


class Sample(NamedTuple):
    sm_mhz: int
    memory_mhz: int
    power_w: float
    temperature_c: int
    reasons: int


class NVML:
    """A reader of one card, by its PCI address. Raises OSError where there is no NVML, or it refuses."""

    def __init__(self, address: str, path: str = "libnvidia-ml.so.1") -> None:
        self._library = ctypes.CDLL(path)
        self._call("nvmlInit_v2")
        self._card = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByPciBusId_v2", address.encode(), ctypes.byref(self._card))

    def __call__(self) -> Sample:
        return Sample(
            self._read("ClockInfo", _SM),
            self._read("ClockInfo", _MEMORY),
            self._read("PowerUsage") / 1000,
            self._read("Temperature", _TEMPERATURE),
            self._read("CurrentClocksThrottleReasons", kind=ctypes.c_ulonglong),
        )

    def _read(self, what: str, *which: int, kind: Any = ctypes.c_uint) -> int:
        value = kind()
        self._call(f"nvmlDeviceGet{what}", self._card, *which, ctypes.byref(value))
        return int(value.value)

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            raise OSError(f"{name} returned {code}")


class Clocks:
    """Samples of a reader, taken in a thread as long as the context lasts; without a reader there are none."""

    def __init__(self, read: Callable[[], Sample] | None) -> None:
        self._read = read
        self._samples: list[tuple[float, Sample]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Clocks:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    def since(self, started: float) -> list[Sample]:
        """Taken after that ``time.monotonic()``."""
        return [sample for taken, sample in self._samples if taken >= started]

    def _watch(self) -> None:
        while self._read is not None and not self._end.wait(EVERY):
            try:
                self._samples.append((time.monotonic(), self._read()))
            except OSError:
                return  # what was taken stays


def of_card(device: str) -> Callable[[], Sample] | None:
    """The reader of the current CUDA device, or None where there is none."""
    if device != "cuda":
        return None
    from cupy.cuda import runtime

    try:
        return NVML(runtime.deviceGetPCIBusId(runtime.getDevice()))
    except (OSError, AttributeError, RuntimeError):  # no NVML, an old one, or CUDA gives no address
        return None


def summary(samples: Sequence[Sample]) -> dict[str, Any] | None:
    """The least, median and largest of each, and every reason that held; None of no samples."""
    if not samples:
        return None
    columns = dict(zip(Sample._fields[:4], zip(*(sample[:4] for sample in samples), strict=True), strict=True))
    held = [name for bit, name in REASONS.items() if any(sample.reasons & bit for sample in samples)]
    return {
        "samples": len(samples),
        **{name: [min(found), median(found), max(found)] for name, found in columns.items()},
        "throttled": held,
    }
