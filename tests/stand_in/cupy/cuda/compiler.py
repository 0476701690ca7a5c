"""What the compiler says of a source that it refuses."""


class CompileException(Exception):  # noqa: N818  # CuPy's name; unlike its other errors it is no RuntimeError
    """NVRTC's log."""
