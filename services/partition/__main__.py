"""`python -m services.partition`."""

from __future__ import annotations

import sys

from services.partition.main import main

if __name__ == "__main__":
    sys.exit(main())
