"""Advises on store, machines and costs, computed from figures.toml, whose rows cite their sources."""

from __future__ import annotations

from planmesh.advise.advice import Advice, advise
from planmesh.advise.capacity import Capacity, Demand, size
from planmesh.advise.figures import Figures, read_figures

__all__ = ["Advice", "Capacity", "Demand", "Figures", "advise", "read_figures", "size"]
