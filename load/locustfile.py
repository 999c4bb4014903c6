"""Agents that request plans from a gateway over gRPC; see docs/operations/load-testing.md.

locust -f load/locustfile.py --headless --host 127.0.0.1:50051 --shape steady
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import gevent
import gevent.hub
import grpc.experimental.gevent as grpc_gevent
from locust import User, constant_throughput, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.event import EventHook
from locust.runners import MasterRunner, WorkerRunner

from load.gateway_calls import CHANNELS, GatewayCalls, PairFailedError, loopback_target
from load.report import add_to_html, summary, write_csv
from load.schedule import (
    CALLS_PER_S_MAX,
    CALLS_PER_S_MIN,
    SECONDS_MAX,
    SECONDS_MIN,
    SHAPES,
    USERS_MAX,
    USERS_PER_PROCESS_MAX,
)
from load.shapes import ScheduledShape, SoakShape, SpikeShape, SteadyShape
from load.tally import Outcome, Tally
from load.traffic import Traffic
from planmesh.defaults import GRAPH_DEFAULT
from planmesh.errors import Overloaded, PlanmeshError
from planmesh.rpc.status import code_of, reason_of

__all__ = ["Agent", "SoakShape", "SpikeShape", "SteadyShape"]

THREADS_MAX: Final = USERS_PER_PROCESS_MAX + 4 * CHANNELS + 16
"""Threads of gevent's pool. gRPC needs one for each waiting call; with the default of ten, calls would queue here."""
STOP_S_MAX: Final = 15
"""Time for calls in progress when agents stop; longer than CALL_TIMEOUT_S."""
BACKOFF_S_MAX: Final = 10.0
CALLS_PER_S_DEFAULT: Final = 10.0
MESSAGE_KEY: Final = "planmesh"
"""Key of planmesh's data in the messages from Locust's workers to their master."""
SUMMARY_STEM: Final = "_planmesh"


class CallFailedError(Exception):
    """A failure, identified by its status, so that Locust groups equal failures."""


class Agent(User):
    """Calls at a fixed rate, one call at a time. After a refusal it backs off as long as the mesh asks."""

    wait_time = constant_throughput(CALLS_PER_S_DEFAULT)
    traffic: Traffic
    connections: Sequence[GatewayCalls]
    refusals_fail: bool
    started = 0

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.gateway = self.connections[Agent.started % len(self.connections)]
        Agent.started += 1
        self.random = Random()

    @task(60)
    def plan_hot(self) -> None:
        """Request a plan for a popular pair."""
        pair = self.traffic.hot_pair(self.random)
        self.call("Plan hot", lambda: self.gateway.plan(pair))

    @task(30)
    def plan_cold(self) -> None:
        """Request a plan that is probably not cached."""
        pair = self.traffic.cold_pair(self.random)
        self.call("Plan cold", lambda: self.gateway.plan(pair))

    @task(9)
    def neighbors(self) -> None:
        """Request the neighbours of a node."""
        node = self.traffic.node(self.random)
        self.call("GetNeighbors", lambda: self.gateway.neighbors(node))

    @task(1)
    def plan_many(self) -> None:
        """Request a batch of plans."""
        pairs = self.traffic.batch(self.random)
        self.call("PlanMany", lambda: self.gateway.plan_many(pairs))

    def call(self, name: str, ask: Callable[[], Outcome]) -> None:
        """Make a call and report it to Locust. Sleeps after a refusal with a retry hint."""
        error: PlanmeshError | None = None
        outcome = Outcome()
        began_s = time.perf_counter()
        try:
            outcome = ask()
        except PairFailedError as failed:
            error, outcome = failed.error, failed.outcome
        except PlanmeshError as failed:
            error = failed
        latency_ms = (time.perf_counter() - began_s) * 1e3
        retry_after_s = error.retry_after_s if isinstance(error, Overloaded) else 0.0
        outcome.refused = int(retry_after_s > 0)
        failure = None
        if error is not None and (self.refusals_fail or not outcome.refused):
            failure = CallFailedError(status_of(error))
        self.environment.events.request.fire(
            # Refusals are quick. Among the answers they would make those look quicker than they are.
            request_type="refused" if outcome.refused else "grpc",
            name=name,
            response_time=latency_ms,
            response_length=outcome.bytes,
            exception=failure,
            context={"outcome": outcome, "error": error},
        )
        if outcome.refused:
            gevent.sleep(min(retry_after_s, BACKOFF_S_MAX) * self.random.uniform(1.0, 1.5))


def listen(hook: EventHook, listener: Callable[..., None]) -> None:
    """Register a listener. Locust's hooks are untyped."""
    hook.add_listener(listener)  # type: ignore[no-untyped-call]


def status_of(error: PlanmeshError) -> str:
    """Return status and reason, such as `RESOURCE_EXHAUSTED OVERLOADED`."""
    return f"{code_of(error).name} {reason_of(error)}"


def number_within(least: float, most: float) -> Callable[[str], float]:
    """Return an argparse type for numbers between two bounds."""

    def parse(text: str) -> float:
        number = float(text)
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"expected {least:g} to {most:g}, got {text}")
        return number

    return parse


def add_options(parser: LocustArgumentParser) -> None:
    """Add planmesh's own options."""
    group = parser.add_argument_group("planmesh")
    group.add_argument("--shape", choices=sorted(SHAPES), default="steady", help="How the number of agents changes.")
    group.add_argument("--shape-users", type=number_within(1, USERS_MAX), help="Largest number of agents.")
    group.add_argument("--shape-seconds", type=number_within(SECONDS_MIN, SECONDS_MAX), help="How long.")
    group.add_argument(
        "--agent-rate",
        type=number_within(CALLS_PER_S_MIN, CALLS_PER_S_MAX),
        default=CALLS_PER_S_DEFAULT,
        help="Largest number of calls per second of one agent.",
    )
    group.add_argument("--graph", default=GRAPH_DEFAULT, help="Name of the graph to query.")
    group.add_argument("--seed", type=int, default=1, help="Seed that draws the nodes and the hot pairs.")


class Session:
    """A run of this process: its tally, and the listeners that fill and print it."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        options = environment.parsed_options
        assert options is not None, "Locust starts from the command line"
        self.options: argparse.Namespace = options
        self.tally = Tally()
        chosen = next(
            shape
            for shape in (environment.available_shape_classes or {}).values()
            if isinstance(shape, ScheduledShape) and shape.name == self.options.shape
        )
        assert isinstance(chosen, ScheduledShape)
        processes = options.expect_workers if isinstance(environment.runner, MasterRunner) else 1
        users = None if options.shape_users is None else int(options.shape_users)
        if not isinstance(environment.runner, WorkerRunner):  # a worker's master assigns its number of agents
            chosen.schedule = SHAPES[chosen.name].schedule(users, options.shape_seconds, processes)
        chosen.runner = environment.runner
        environment.shape_class = chosen
        environment.stop_timeout = STOP_S_MAX
        Agent.refusals_fail = SHAPES[chosen.name].refusals_fail
        Agent.wait_time = constant_throughput(self.options.agent_rate)

        hooks = environment.events
        listen(hooks.request, self.on_request)
        listen(hooks.report_to_master, self.on_report_to_master)
        listen(hooks.worker_report, self.on_worker_report)
        listen(hooks.quitting, self.on_quitting)
        listen(hooks.quit, self.on_quit)

    def connect(self) -> None:
        """Open the connections and choose the nodes for requests. Raises PlanmeshError and ValueError."""
        # Size the pool first: gRPC uses it as it is. No gRPC object may exist before.
        gevent.hub.get_hub().threadpool.maxsize = THREADS_MAX
        grpc_gevent.init_gevent()
        target = loopback_target(str(self.environment.host or ""))
        Agent.connections = [GatewayCalls(target, self.options.graph) for _ in range(CHANNELS)]
        Agent.traffic = Traffic.over(Agent.connections[0].sample_nodes(self.options.seed), self.options.seed)

    def on_request(self, name: str, response_time: float, exception: Exception | None, **event: Any) -> None:
        """Count what Locust has no columns for."""
        context = event["context"]
        error: PlanmeshError | None = context["error"]
        if error is not None:
            self.tally.count_status(status_of(error), error.message)
        self.tally.count(name, time.time(), response_time, context["outcome"], str(exception or ""))

    def on_report_to_master(self, data: dict[str, Any], **_: Any) -> None:
        """Send the counts since the last report to the master."""
        data[MESSAGE_KEY] = self.tally.take().to_message()

    def on_worker_report(self, data: dict[str, Any], **_: Any) -> None:
        """Add the counts of a worker."""
        if MESSAGE_KEY in data:
            self.tally.merge(Tally.of_message(data[MESSAGE_KEY]))

    def on_quitting(self, **_: Any) -> None:
        """Set the exit code to 1 if any call failed, or if no plan was answered."""
        if isinstance(self.environment.runner, WorkerRunner):
            return
        total = self.tally.total()
        if total.failures or not total.plans:
            self.environment.process_exit_code = 1

    def on_quit(self, **_: Any) -> None:
        """Print and write the figures. At this event Locust has already written its own report."""
        if isinstance(self.environment.runner, WorkerRunner):
            return
        print(f"\n{summary(self.tally)}", flush=True)
        if self.options.csv_prefix:
            write_csv(self.tally, Path(f"{self.options.csv_prefix}{SUMMARY_STEM}.csv"))
        if self.options.html_file and Path(self.options.html_file).is_file():
            add_to_html(self.tally, Path(self.options.html_file))


def begin(environment: Environment, **_: Any) -> None:
    """Prepare the session before the first agent starts. Exits if that is impossible."""
    try:
        session = Session(environment)
        if not isinstance(environment.runner, MasterRunner):
            session.connect()
    except (PlanmeshError, ValueError) as error:
        raise SystemExit(f"load: {error}") from error


def announce(environment: Environment, **_: Any) -> None:
    """Print the shape, the number of agents, the duration and the target."""
    if not isinstance(environment.runner, WorkerRunner) and isinstance(environment.shape_class, ScheduledShape):
        shape = environment.shape_class
        users = max(stage.users for stage in shape.schedule.stages)
        print(
            f"{shape.name}: at most {users} agents for {shape.schedule.seconds:g} s against {environment.host} "
            f"(process {os.getpid()})",
            flush=True,
        )


listen(events.init_command_line_parser, add_options)
listen(events.init, begin)
listen(events.test_start, announce)
