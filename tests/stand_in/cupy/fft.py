"""Fourier transforms: names that array-api-compat asks for."""

import numpy as _np

from . import _lifted

for _name in _np.fft.__all__:
    globals()[_name] = _lifted(getattr(_np.fft, _name))
