"""The local mesh: every process of planmesh on one machine, under one supervisor."""

from __future__ import annotations
