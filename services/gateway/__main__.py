"""`python -m services.gateway`."""

from __future__ import annotations

import sys

from services.gateway.main import main

sys.exit(main())
