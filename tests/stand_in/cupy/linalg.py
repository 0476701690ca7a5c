"""Linear algebra: names that array-api-compat asks for; none of it can be captured."""

import numpy as _np

from . import _lifted

for _name in _np.linalg.__all__:
    if _name != "LinAlgError":
        globals()[_name] = _lifted(getattr(_np.linalg, _name), captures=False)
