"""Pictures of plans. Needs the extra `draw` (matplotlib)."""

from __future__ import annotations
