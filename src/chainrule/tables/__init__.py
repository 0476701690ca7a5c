"""Tables: a file of named columns becomes X and y, and predictions become labels and units in the table's own words.

``read_table`` reads a file, ``split`` holds rows out, ``Preprocessing.learn`` says from the training rows how each
column is encoded, and travels in the model file. Needs ``pip install 'chainrule[cli]'`` for CSV and Parquet.
"""

from ._files import read_table as read_table
from ._from_python import as_table as as_table
from ._from_python import as_target as as_target
from ._from_python import is_table_file as is_table_file
from ._from_python import with_names as with_names
from ._preprocessing import Preprocessing as Preprocessing
from ._preprocessing import Unseen as Unseen
from ._splitting import split as split
from ._table import Table as Table
from ._targets import Quantity as Quantity
from ._targets import infer_task as infer_task
