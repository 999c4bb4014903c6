"""The schedules as Locust load shapes."""

from __future__ import annotations

from typing import ClassVar

from locust import LoadTestShape

from load.schedule import SHAPES, Schedule


class ScheduledShape(LoadTestShape):
    """A shape that follows the schedule of its name, which --shape-users and --shape-seconds adjust."""

    abstract = True
    name: ClassVar[str]
    schedule: Schedule

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.schedule = SHAPES[self.name].schedule()

    def tick(self) -> tuple[int, float] | None:
        """Return the number of agents wanted now and their spawn rate; None ends the run."""
        stage = self.schedule.at(self.get_run_time())  # type: ignore[no-untyped-call]
        return None if stage is None else (stage.users, stage.spawn_per_s)


class SteadyShape(ScheduledShape):
    """A constant number of agents."""

    name = "steady"


class SpikeShape(ScheduledShape):
    """Few agents, eight times as many at once, then few again."""

    name = "spike"


class SoakShape(ScheduledShape):
    """A constant number of agents for a long time."""

    name = "soak"
