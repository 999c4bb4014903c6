"""A graph out of networkx: loaded into a mesh, planned there, and compared with the path that networkx finds.

    planmesh up --detach
    python examples/networkx_graph.py

PLANMESH_ADDRESS names another gateway.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from itertools import batched, pairwise
