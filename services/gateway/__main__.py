"""Entry point of `python -m services.gateway`."""

from __future__ import annotations

import os
import sys

# gRPC reads this on import. Its own log lines are not structured, and our errors report the same more clearly.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from services.gateway.main import main

if __name__ == "__main__":
    sys.exit(main())
