"""`python -m services.gateway`."""

from __future__ import annotations

import os
import sys

# Read by gRPC when it is imported: its own lines are not structured, and our errors say the same with more sense.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from services.gateway.main import main

if __name__ == "__main__":
    sys.exit(main())
