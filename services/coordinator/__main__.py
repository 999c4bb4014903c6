"""`python -m services.coordinator`."""

from __future__ import annotations

import sys

from services.coordinator.main import main

if __name__ == "__main__":
    sys.exit(main())
