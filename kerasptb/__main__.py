"""`python -m kerasptb`."""

import sys

from kerasptb.cli import main

sys.exit(main())
