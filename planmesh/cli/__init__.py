"""The command line: `planmesh`."""

from __future__ import annotations
