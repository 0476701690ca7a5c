"""``python -m chainrule.cli``."""

import sys

from . import main

sys.exit(main())
