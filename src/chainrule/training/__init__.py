"""Training: the pure step, the loop around it, and the objects that listen to the loop."""

from ._callbacks import CSVLogger as CSVLogger
from ._callbacks import EarlyStopping as EarlyStopping
from ._callbacks import ReduceOnPlateau as ReduceOnPlateau
from ._callbacks import check_callbacks as check_callbacks
from ._checkpoint import Checkpoint as Checkpoint
from ._checkpoint_file import has_unfinished as has_unfinished
from ._examples import batch_sizes as batch_sizes
from ._feed import DeviceFeed as DeviceFeed
from ._feed import HostFeed as HostFeed
from ._fit import fit as fit
from ._interrupt import deferred_interrupt as deferred_interrupt
from ._lock import FolderLock as FolderLock
from ._loop import Plan as Plan
from ._loop import train as train
from ._progress import ProgressBar as ProgressBar
from ._run import Run as Run
from ._run import Snapshot as Snapshot
from ._step import Problem as Problem
from ._step import State as State
from ._step import copy_state as copy_state
from ._step import fresh_state as fresh_state
from ._step import initial_state as initial_state
from ._step import make_epoch_step as make_epoch_step
from ._step import make_step as make_step
from ._step import move_state as move_state
from ._watch import Watch as Watch
