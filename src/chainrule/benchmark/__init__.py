"""Which backend trains a network fastest here, and from what size on: ``cr.fit`` itself, timed on random data.

An epoch is timed as its history has it: from the drawing of its order to the synchronisation at its end. The first
epoch of a training run compiles and is left out. Of the others the best counts, since what disturbs a machine only ever
makes an epoch longer. The backends take turns, so that a machine that drifts treats them alike.
"""

from ._answer import TIE as TIE
from ._answer import Crossover as Crossover
from ._answer import answer as answer
from ._answer import by_network as by_network
from ._answer import crossovers as crossovers
from ._answer import unrest as unrest
from ._measure import ladder as ladder
from ._measure import measure as measure
from ._measure import usable_backends as usable_backends
from ._measurement import Measurement as Measurement
from ._measurement import flop_a_row as flop_a_row
from ._measurement import network_name as network_name
