"""Processor time of the parts of a mesh, from the kernel's own counters: by thread, in a stretch of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class ProcessTime:
    """Seconds of processor time of all processes of a part; `loop_s` is what their main threads took of it."""

    loop_s: float
    all_s: float

    def __sub__(self, other: ProcessTime) -> ProcessTime:
        """The time between two samples."""
        return ProcessTime(self.loop_s - other.loop_s, self.all_s - other.all_s)

    def times(self, factor: float) -> ProcessTime:
        """The time of a stretch so many times as long."""
        return ProcessTime(self.loop_s * factor, self.all_s * factor)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was used up to a moment; `machine_s` by everything that ran."""

    parts: dict[str, ProcessTime]
    machine_s: float

    def since(self, earlier: Sample) -> Sample:
        """What was used between two samples of the same processes."""
        parts = {part: used - earlier.parts[part] for part, used in self.parts.items()}
        return Sample(parts, self.machine_s - earlier.machine_s)

    @property
    def rest_s(self) -> float:
        """Of the machine, what none of the parts used: the kernel's own work, proxies, whatever else ran."""
        return max(0.0, self.machine_s - sum(part.all_s for part in self.parts.values()))


def sample(pids: Mapping[str, Sequence[int]]) -> Sample:
    """Read the counters of these processes and of the machine.

    Raises psutil.NoSuchProcess when one of them has ended.
    """
    parts = {}
    for part, of_part in pids.items():
        loop_s = all_s = 0.0
        for pid in of_part:
            process = psutil.Process(pid)
            used = process.cpu_times()
            all_s += used.user + used.system
            loop_s += sum(one.user_time + one.system_time for one in process.threads() if one.id == pid)
        parts[part] = ProcessTime(loop_s, all_s)
    return Sample(parts, _busy_s(psutil.cpu_times()))


def _busy_s(times: Any) -> float:
    """Of the machine's processors: guests are counted in `user` already."""
    idle = ("idle", "iowait", "guest", "guest_nice", "steal")
    return float(sum(value for name, value in times._asdict().items() if name not in idle))
