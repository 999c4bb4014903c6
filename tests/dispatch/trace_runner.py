"""Runs the machine of planmesh.dispatch.batching on the events in a trace file, and writes its commands.

A trace consists of blocks: events, one per line, then a line `----` and the commands that they caused. An event begins
with its time in milliseconds. After an intended change of the machine's behaviour, run
`python -m tests.dispatch.trace_runner`, which writes all commands again, and review the difference.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from planmesh.dispatch.batching import Batching
from planmesh.dispatch.batching_commands import (
    Absence,
    Command,
    Complete,
    Fail,
    Forget,
    Look,
    Policy,
    Repeated,
    Send,
    Withdraw,
)

TRACES: Final = Path(__file__).parent / "traces"
SEPARATOR: Final = "----"
SERVED_AT_ONCE: Final = 2
"""Callers of `serve`, each of which asks again after its answer."""


class TraceRunner:
    """One machine and its clock."""

    def __init__(self) -> None:
        self._now_ms = 0.0
        self._is_slow = False
        self._set_up()

    def _set_up(self, **options: float) -> None:
        self._policy = Policy(
            shards=int(options.get("shards", 1)),
            batch_items_max=int(options.get("batch", 4)),
            tasks_in_flight_max=int(options.get("in_flight", 1)),
            hedge_floor_s=options.get("floor", 50.0) / 1e3,
            worker_grace_s=options.get("grace", 3_000.0) / 1e3,
        )
        self._machine = Batching(self._policy, self._now_ms / 1e3)
        self._served = itertools.count(1_000)

    def run(self, line: str) -> Iterator[str]:
        """Yield the lines of the commands that an event causes."""
        time_ms, name, *words = line.split()
        assert float(time_ms) >= self._now_ms, f"time goes back: {line}"
        self._now_ms = float(time_ms)
        handler: Callable[[list[str]], Iterator[str]] = getattr(self, f"_do_{name.replace('-', '_')}")
        yield from handler(words)

    @property
    def _now_s(self) -> float:
        return self._now_ms / 1e3

    def _do_machine(self, words: list[str]) -> Iterator[str]:
        self._is_slow = "broker=slow" in words
        words = [word for word in words if word != "broker=slow"]
        self._set_up(**{name.replace("-", "_"): float(value) for name, value in _pairs(words)})
        yield from ()

    def _do_workers(self, words: list[str]) -> Iterator[str]:
        cut = words.index("lost") if "lost" in words else len(words)
        live, missed = ({int(shard): int(n) for shard, n in _pairs(some)} for some in (words[:cut], words[cut + 1 :]))
        yield from self._written(self._machine.workers(self._now_s, live, missed))

    def _do_broker_down(self, _: list[str]) -> Iterator[str]:
        yield from self._written(self._machine.broker_down(self._now_s))

    def _do_ask(self, words: list[str]) -> Iterator[str]:
        options = dict(_pairs(words))
        for word in words:
            if "=" not in word:
                yield from self._written(self._machine.ask(self._now_s, int(word), int(options.get("shard", 0))))

    def _do_drop(self, words: list[str]) -> Iterator[str]:
        for word in words:
            yield from self._written(self._machine.drop(self._now_s, int(word)))

    def _do_reply(self, words: list[str]) -> Iterator[str]:
        copy, *answered = map(int, words)
        yield from self._written(self._machine.reply(self._now_s, copy, answered))

    def _do_queued(self, words: list[str]) -> Iterator[str]:
        copy, waiting = map(int, words)
        yield from self._written(self._machine.queued(self._now_s, copy, waiting))

    def _do_looked(self, words: list[str]) -> Iterator[str]:
        yield from self._written(
            self._machine.looked(self._now_s, int(words[0]), waits=_either(words[1], "waits", "taken"))
        )

    def _do_withdrawn(self, words: list[str]) -> Iterator[str]:
        unread = _either(words[1], "unread", "taken")
        yield from self._written(self._machine.withdrawn(self._now_s, int(words[0]), unread=unread))

    def _do_unreadable(self, words: list[str]) -> Iterator[str]:
        for _ in range(int(words[0]) if words else 1):
            yield from self._written(self._machine.unreadable(self._now_s))

    def _do_unsent(self, words: list[str]) -> Iterator[str]:
        yield from self._written(self._machine.unsent(self._now_s, int(words[0])))

    def _do_wanted(self, words: list[str]) -> Iterator[str]:
        yield f"wanted of {words[0]}: {_keys(self._machine.wanted(int(words[0])))}"

    def _do_wake(self, _: list[str]) -> Iterator[str]:
        yield from self._written(self._machine.wake(self._now_s))

    def _do_state(self, _: list[str]) -> Iterator[str]:
        at_s = self._machine.wake_at_s()
        wakes = "never" if at_s is None else f"at {1e3 * at_s:g}"
        for shard in range(self._policy.shards):
            yield (
                f"shard {shard}: {self._machine.pending_items(shard)} items, "
                f"{self._machine.copies_under_way(shard)} copies under way, "
                f"hedge time {1e3 * self._machine.hedge_s(shard):g}, wakes {wakes}"
            )

    def _written(self, commands: list[Command]) -> Iterator[str]:
        """Write commands. Unless the trace says `broker=slow`, the broker accepts each copy at once."""
        for command in commands:
            match command:
                case Send():
                    keys = _keys(command.keys)
                    yield f"send copy {command.copy} to shard {command.shard}: {keys} (attempt {command.attempt})"
                    if not self._is_slow:
                        yield from self._written(self._machine.queued(self._now_s, command.copy, 1))
                case Look():
                    yield f"look after copy {command.copy}"
                case Withdraw():
                    yield f"withdraw copy {command.copy}"
                case Complete():
                    yield f"complete {_keys(command.keys)}"
                case Fail():
                    reason = {
                        Absence.BROKER: "the broker is down",
                        Absence.WORKER: "the shard has no worker",
                        Absence.EACH_WORKER_LOST: "each worker was lost",
                        Absence.NO_VALID_REPLY: "no valid reply can come",
                    }[command.absence]
                    yield f"fail {_keys(command.keys)}: {reason}"
                case Repeated():
                    yield f"repeat {_keys(command.keys)} after attempt {command.attempt}"
                case Forget():
                    yield f"forget copy {command.copy}"

    def _do_serve(self, words: list[str]) -> Iterator[str]:
        """Answer many items on one worker, which needs `latency` for each copy and takes one after another.

        Callers ask again after each answer. At the end they drop their unanswered items.
        """
        options = dict(_pairs(words))
        answers, latency_ms = int(options["answers"]), float(options["latency"])
        server = _Server(self._machine)
        for _ in range(SERVED_AT_ONCE):
            server.ask(next(self._served), self._now_s)
        copies_most = 0
        while server.answered < answers:
            server.take(self._now_ms + latency_ms)
            copies_most = max(copies_most, self._machine.copies_under_way(0))
            wake_at_s = self._machine.wake_at_s()
            if server.taken is not None and (wake_at_s is None or server.ready_at_ms <= 1e3 * wake_at_s):
                self._now_ms = server.ready_at_ms
                for _ in server.reply(self._now_s):
                    server.ask(next(self._served), self._now_s)
            else:
                assert wake_at_s is not None, "nothing is under way"
                self._now_ms = max(self._now_ms, 1e3 * wake_at_s)
                server.carry_out(self._machine.wake(self._now_s), self._now_s)
        yield f"{server.sent / server.answered:.2f} tasks an answer, at most {copies_most} copies under way"
        for key in sorted(server.open):
            server.carry_out(self._machine.drop(self._now_s, key), self._now_s)


@dataclass
class _Server:
    """A queue and its only worker."""

    machine: Batching
    sent: int = 0
    answered: int = 0
    queue: dict[int, tuple[int, ...]] = field(default_factory=dict)
    taken: tuple[int, tuple[int, ...]] | None = None
    ready_at_ms: float = 0.0
    open: set[int] = field(default_factory=set)

    def ask(self, key: int, now_s: float) -> None:
        self.open.add(key)
        self.carry_out(self.machine.ask(now_s, key, 0), now_s)

    def take(self, ready_at_ms: float) -> None:
        if self.taken is None and self.queue:
            copy = next(iter(self.queue))
            self.taken, self.ready_at_ms = (copy, self.queue.pop(copy)), ready_at_ms

    def reply(self, now_s: float) -> set[int]:
        """Answer the taken copy, and return the items that were not answered before."""
        assert self.taken is not None
        (copy, keys), self.taken = self.taken, None
        before = set(self.open)
        self.carry_out(self.machine.reply(now_s, copy, keys), now_s)
        return before - self.open

    def carry_out(self, commands: list[Command], now_s: float) -> None:
        for command in commands:
            match command:
                case Send():
                    self.sent += 1
                    self.queue[command.copy] = command.keys
                    self.carry_out(self.machine.queued(now_s, command.copy, len(self.queue)), now_s)
                case Complete():
                    self.answered += len(command.keys)
                    self.open.difference_update(command.keys)
                case Look():
                    waits = command.copy in self.queue
                    self.carry_out(self.machine.looked(now_s, command.copy, waits=waits), now_s)
                case Withdraw():
                    unread = self.queue.pop(command.copy, None) is not None
                    self.carry_out(self.machine.withdrawn(now_s, command.copy, unread=unread), now_s)


def _pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        if "=" in word:
            name, _, value = word.partition("=")
            yield name, value


def _either(word: str, yes: str, no: str) -> bool:
    assert word in {yes, no}, word
    return word == yes


def _keys(keys: tuple[int, ...]) -> str:
    return " ".join(map(str, keys)) or "none"


def replay(text: str) -> str:
    """Return a trace with the commands that the machine gives now."""
    runner = TraceRunner()
    blocks = []
    for block in text.strip().split("\n\n"):
        events = block.partition(SEPARATOR)[0].splitlines()
        given = [line for event in events if not event.startswith("#") for line in runner.run(event)]
        blocks.append("\n".join([*events, SEPARATOR, *given]))
    return "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    for path in sorted(TRACES.glob("*.txt")):
        path.write_text(replay(path.read_text()))
