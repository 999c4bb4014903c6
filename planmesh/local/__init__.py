"""The local mesh: every part of planmesh as a process of its own on one machine, under one supervisor."""

from __future__ import annotations
