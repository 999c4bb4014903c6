"""Locust's load shapes, in a process of their own, because Locust patches the process that imports it."""

from __future__ import annotations

import json
import subprocess
import sys

from load.schedule import SHAPES
from tests.conftest import ROOT

TICKS = """
import json
from load.shapes import SoakShape, SpikeShape, SteadyShape
ticks_by_shape = {}
for shape in (SoakShape(), SpikeShape(), SteadyShape()):
    ticks = []
    for moment_s in (0, 0.5, 1):
        shape.get_run_time = lambda: moment_s * shape.schedule.seconds
        ticks.append(shape.tick())
    ticks_by_shape[shape.name] = ticks
print(json.dumps(ticks_by_shape))
"""


def test_every_shape_ticks_by_its_schedule() -> None:
    result = subprocess.run(
        [sys.executable, "-c", TICKS], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    assert sorted(printed) == sorted(SHAPES)
    for name, (first, middle, last) in printed.items():
        shape = SHAPES[name]
        begin, half = shape.schedule().at(0), shape.schedule().at(shape.seconds / 2)
        assert begin is not None
        assert half is not None
        assert first == [begin.users, begin.spawn_per_s]
        assert middle == [half.users, half.spawn_per_s]
        assert last is None
