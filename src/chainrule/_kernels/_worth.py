"""Whether Numba's loops pay: told from what is asked for, never from the clock, so that it is the same every day.

Their last bits in a training are not NumPy's, so the same training must always take the same ones. Loading them takes a
third of a second, compiling them for the first time on a machine two, and they take a tenth to a half off a step.
"""

from __future__ import annotations

from ..network import Sequential

_CALLS = 4e-5  # seconds that a recorded step takes besides its arithmetic
_PARAMETER = 2e-9  # of its update
_MULTIPLICATION = 2e-11  # of the products; between one core and two of the usual ones
_NUMBER = 1e-9  # of a layer's outputs, through all that is done to it
_TRAINING = 1.0
_PREDICTIONS = 3.0  # of which the loops take off less, and to whom a third of a second is a pause


def training_pays(network: Sequential, rows: int, steps: int | None) -> bool:
    """Whether they pay in a training of ``steps`` steps on ``rows`` rows each; None: nobody knows how many.

    They do from a second on, which is told as steps (4e-5 + 2e-9 parameters + rows (6e-11 multiplications + 1e-9
    numbers)): multiplications by weights, and numbers in the layers' outputs, of a row. A training whose length nobody
    knows counts as a long one.

    Example:
        >>> import chainrule as cr
        >>> network = cr.mlp([20, 64, 64, 2])
        >>> [training_pays(network, 200, epochs * 50) for epochs in (3, 30, 300)]
        [False, False, True]
    """
    return steps is None or steps * (_seconds(network, rows, passes=3) + _PARAMETER * network.size) > _TRAINING


def shares_of_predictions(network: Sequential) -> tuple[float, float]:
    """What a prediction, and each of its rows, adds to 1, from where on they pay in a network's predictions."""
    call, with_row = (_seconds(network, rows, passes=1) / _PREDICTIONS for rows in (0, 1))
    return call, with_row - call


def _seconds(network: Sequential, rows: int, *, passes: int) -> float:
    """``passes`` products with each weight matrix: one forward, and in training two backward."""
    multiplications = sum(layer.multiplications() for layer in network.layers)
    return _CALLS + rows * (passes * _MULTIPLICATION * multiplications + _NUMBER * sum(network.widths))
