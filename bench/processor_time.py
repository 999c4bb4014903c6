"""Processor time of each kind of process in a mesh over an interval, from the kernel's per-thread counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class ProcessTime:
    """Processor time in seconds of all processes of a kind; `loop_s` is the share of their main threads."""

    loop_s: float
    all_s: float

    def __sub__(self, other: ProcessTime) -> ProcessTime:
        """Return the time between two samples."""
        return ProcessTime(self.loop_s - other.loop_s, self.all_s - other.all_s)

    def times(self, factor: float) -> ProcessTime:
        """Return the time scaled to an interval `factor` times as long."""
        return ProcessTime(self.loop_s * factor, self.all_s * factor)


@dataclass(frozen=True, slots=True)
class Sample:
    """Processor time used up to a moment; `machine_s` counts everything that ran on the machine."""

    processes: dict[str, ProcessTime]
    machine_s: float

    def since(self, earlier: Sample) -> Sample:
        """Return the time used between two samples of the same processes."""
        processes = {process: used - earlier.processes[process] for process, used in self.processes.items()}
        return Sample(processes, self.machine_s - earlier.machine_s)

    @property
    def rest_s(self) -> float:
        """Return the machine's time that these processes did not use: the kernel's own, proxies, other programs."""
        return max(0.0, self.machine_s - sum(process.all_s for process in self.processes.values()))


def sample(pids: Mapping[str, Sequence[int]]) -> Sample:
    """Read the counters of these processes and of the machine.

    Raises psutil.NoSuchProcess if a process has ended.
    """
    processes = {}
    for process, pids_of_process in pids.items():
        loop_s = all_s = 0.0
        for pid in pids_of_process:
            counters = psutil.Process(pid)
            used = counters.cpu_times()
            all_s += used.user + used.system
            loop_s += sum(one.user_time + one.system_time for one in counters.threads() if one.id == pid)
        processes[process] = ProcessTime(loop_s, all_s)
    return Sample(processes, _busy_s(psutil.cpu_times()))


def _busy_s(times: Any) -> float:
    """Return the busy time of the machine's processors. The counter `user` already includes guests."""
    idle = ("idle", "iowait", "guest", "guest_nice", "steal")
    return float(sum(value for name, value in times._asdict().items() if name not in idle))
