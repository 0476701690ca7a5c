"""Data: arrays checked and placed on a backend, tables read and turned into arrays."""

from ._arrays import Batch as Batch
from ._arrays import check_inputs as check_inputs
from ._arrays import is_flat as is_flat
from ._arrays import prepare as prepare
