"""`python -m dynallow` is `dynallow`."""

from __future__ import annotations

import sys

from dynallow.cli.main import main

sys.exit(main())
