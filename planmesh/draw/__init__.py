"""Draws plans and comparisons. Needs the extra `draw` (matplotlib)."""

from __future__ import annotations
