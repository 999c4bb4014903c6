from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import numpy as np
from numba.core.registry import CPUDispatcher

import planmesh.search
from planmesh.search.partition_index import PartitionIndex
from planmesh.search.warm import warm
from tests.search.in_process_mesh import build_mesh, make_graph


def compiled_signatures() -> dict[str, int]:
    result = {}
    for module_info in pkgutil.iter_modules(planmesh.search.__path__):
        module = importlib.import_module(f"planmesh.search.{module_info.name}")
        for name, value in vars(module).items():
            if isinstance(value, CPUDispatcher) and value.py_func.__module__ == module.__name__:
                result[f"{module.__name__}.{name}"] = len(value.signatures)
    return result


def test_nothing_is_left_to_compile_for_a_request(tmp_path: Path) -> None:
    warm()
    before = compiled_signatures()
    assert sum(before.values()) > 0
    edges = [(k, (k * 7 + 3) % 60, float(k % 5)) for k in range(60)] + [(k, (k + 1) % 60, 2.0) for k in range(60)]
    mesh = build_mesh(make_graph(60, edges), np.array([0, 20, 40, 60], np.int32))
    mapped = {}
    for name, array in mesh.indexes[0].arrays().items():
        np.save(tmp_path / f"{name}.npy", array)
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    mesh.indexes[0] = PartitionIndex.from_arrays(mapped)
    for start in range(0, 60, 7):
        for goal in range(60):
            mesh.plan(start, goal)
    assert compiled_signatures() == before
