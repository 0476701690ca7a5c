"""Examples that are not in memory: files and objects that give rows by slices, and iterables of batches.

Rows are read a window at a time, the next one while the steps of this one run, so memory holds two windows whatever the
length of the file. An order that suits this is shuffled on two levels (``shuffled_in_windows``).
"""

from ._ahead import ReadAhead as ReadAhead
from ._batches import Batches as Batches
from ._batches import are_batches as are_batches
from ._npy import check_map as check_map
from ._parquet import Parquet as Parquet
from ._rows import in_windows as in_windows
from ._rows import open_rows as open_rows
from ._rows import read_once as read_once
from ._rows import read_rows as read_rows
from ._rows import read_targets as read_targets
from ._windows import Windows as Windows
from ._windows import rows_in_window as rows_in_window
from ._windows import shuffled_in_windows as shuffled_in_windows
