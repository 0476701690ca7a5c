"""The CUDA runtime. A test replaces its functions to have another machine: without a driver, or with an old one."""

import threading

from . import memory

is_hip = False  # True in the CuPy that is built on ROCm

_local = threading.local()


class CUDARuntimeError(RuntimeError):
    """What the runtime answers, by name."""


def getDeviceCount():
    return 2


def driverGetVersion():
    return 13000


def runtimeGetVersion():
    return 13000


def getDevice():
    return getattr(_local, "device", 0)


def setDevice(device):
    if not 0 <= device < getDeviceCount():
        raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
    _local.device = device


def getDeviceProperties(device):
    """Those of an H100."""
    return {"major": 9, "minor": 0, "sharedMemPerBlockOptin": 227 * 1024}


def memGetInfo():
    """(free, total) bytes of the current device."""
    return memory.capacity[getDevice()] - memory.pool.total_bytes(), memory.capacity[getDevice()]


def stack():
    """The devices that the open contexts of this thread go back to."""
    if not hasattr(_local, "stack"):
        _local.stack = []
    return _local.stack
