"""``python -m udvd_core`` is ``udvd``."""

import sys

from udvd_core.cli import main

sys.exit(main())
