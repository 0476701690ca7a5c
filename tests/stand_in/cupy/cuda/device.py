"""The devices, two of them, and which one is current in a thread."""

from . import runtime


class Device:
    """A device, and a context in which it is the current one. Like CuPy's it does not hash."""

    __hash__ = None

    def __init__(self, device=None):
        self.id = runtime.getDevice() if device is None else int(device)

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    def use(self):
        runtime.setDevice(self.id)
        return self

    def __enter__(self):
        runtime.stack().append(runtime.getDevice())
        return self.use()

    def __exit__(self, *_):
        runtime.setDevice(runtime.stack().pop())
