"""The schedules as Locust's load shapes."""

from __future__ import annotations

from typing import ClassVar

from locust import LoadTestShape

from load.schedule import SHAPES, Schedule


class ScheduledShape(LoadTestShape):
    """A shape that follows the schedule of its name; --shape-users and --shape-seconds change it."""

    abstract = True
    name: ClassVar[str]
    schedule: Schedule

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.schedule = SHAPES[self.name].schedule()

    def tick(self) -> tuple[int, float] | None:
        """How many agents are wanted now, and how fast; None ends the run."""
        stage = self.schedule.at(self.get_run_time())  # type: ignore[no-untyped-call]
        return None if stage is None else (stage.users, stage.spawn_per_s)


class SteadyShape(ScheduledShape):
    """The same crowd from beginning to end."""

    name = "steady"


class SpikeShape(ScheduledShape):
    """A calm crowd, eight times as many at once, calm again."""

    name = "spike"


class SoakShape(ScheduledShape):
    """A crowd that stays for long."""

    name = "soak"
