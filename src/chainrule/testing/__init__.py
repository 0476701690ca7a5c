"""Checks for a part of your own: that a layer, loss, activation, optimizer or schedule does all that its kind must.

    from chainrule.testing import check_layer

    print(check_layer(Scale(8)))

What is broken is a ``ContractError``, which is an AssertionError, of one sentence: what was expected, what came, where
to look. A part that passes trains on every backend that is installed here, alone and in a stack of networks. What each
kind must do is in docs/own_parts.md.
"""

from .._base.errors import ContractError as ContractError
from ._activation import check_activation as check_activation
from ._layer import check_layer as check_layer
from ._loss import check_loss as check_loss
from ._optimizer import check_optimizer as check_optimizer
from ._report import ContractReport as ContractReport
from ._schedule import check_schedule as check_schedule
