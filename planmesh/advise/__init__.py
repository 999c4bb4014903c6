"""Which store, how many workers and what it costs: computed from figures.toml, whose rows say where each is from."""

from __future__ import annotations

from planmesh.advise.advice import Advice, advise
from planmesh.advise.capacity import Capacity, Demand, size
from planmesh.advise.figures import Figures, read_figures

__all__ = ["Advice", "Capacity", "Demand", "Figures", "advise", "read_figures", "size"]
