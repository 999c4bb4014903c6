"""Golden scenarios: text files of commands and what a mesh answers to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from planmesh.client import Client, EdgeRows, GraphRows, NodeRows, Plan, RowOrigin
from planmesh.errors import InvalidGraph, NodeUnknown, PlanmeshError
from planmesh.rpc.status import code_of, reason_of
from tests.scenarios.best_exit import best_exit_cost

SEPARATOR = "----"
DEADLINE_S = 30.0


@dataclass
class Block:
    """A command with its rows; `answer` is what is expected. `lead` are the blank lines and remarks before it."""

    lead: list[str]
    command: str
    rows: list[str]
    answer: list[str]

    def text(self, answer: list[str]) -> list[str]:
        return [*self.lead, self.command, *self.rows, SEPARATOR, *answer]


def read_blocks(file: Path) -> list[Block]:
    """Read a scenario. A block without a separator is a mistake in the file."""
    blocks: list[Block] = []
    lines = file.read_text().splitlines()
    place = 0
    while place < len(lines):
        lead: list[str] = []
        while place < len(lines) and (not lines[place] or lines[place].startswith("#")):
            lead.append(lines[place])
            place += 1
        if place == len(lines):
            break
        end = lines.index(SEPARATOR, place)
        stop = next((number for number in range(end, len(lines)) if not lines[number]), len(lines))
        blocks.append(Block(lead, lines[place], lines[place + 1 : end], lines[end + 1 : stop]))
        place = stop
    return blocks


@dataclass
class Conversation:
    """One scenario's graph on a mesh, and the rows it was last loaded with."""

    client: Client
    graph: str
    domains: dict[str, str] = field(default_factory=dict)
    edges: list[tuple[str, str, float]] = field(default_factory=list)

    def answer(self, block: Block) -> list[str]:
        """What the mesh answers to a block, in text."""
        name, *arguments = block.command.split()
        commands: dict[str, Callable[..., list[str]]] = {
            "plan": self.plan,
            "costs": self.costs,
            "neighbors": self.neighbors,
            "partitions": self.partitions,
            "best-exit": self.best_exit,
            "unload": self.unload,
        }
        try:
            if name == "load":
                return self.load(arguments, block.rows)
            return commands[name](*arguments)
        except PlanmeshError as error:
            return describe_error(error)

    def load(self, options: list[str], rows: list[str]) -> list[str]:
        given = dict(option.partition("=")[::2] for option in options)
        domains: dict[str, str] = {}
        ids: list[str] = []
        edges: list[tuple[str, str, float]] = []
        for row in rows:
            kind, *values = row.split()
            if kind == "node":
                ids.append(values[0])
                domains[values[0]] = values[1] if len(values) > 1 else ""
            else:
                edges.append((values[0], values[1], float(values[2]) if len(values) > 2 else 1.0))
        batches: list[GraphRows] = [NodeRows(ids, [domains[one] for one in ids], origin=RowOrigin("nodes"))]
        if edges:
            sources, targets, costs = zip(*edges, strict=True)
            batches.append(EdgeRows(sources, targets, costs, origin=RowOrigin("edges")))
        report = self.client.load(
            batches,
            graph=self.graph,
            strategy=given.get("strategy"),
            partitions=int(given.get("partitions", 0)),
            undirected="undirected" in given,
            timeout_s=DEADLINE_S,
        )
        self.domains = domains
        self.edges = edges + [(b, a, cost) for a, b, cost in edges if "undirected" in given]
        told = [
            f"version {report.version}: {counted(report.nodes, 'node')} and {counted(report.edges, 'edge')} in "
            f"{counted(report.partitions, 'partition')}, {counted(report.cross_edges, 'cross edge')}"
        ]
        if report.parallel_edges or report.self_loops:
            told.append(f"{counted(report.parallel_edges, 'parallel edge')}, {counted(report.self_loops, 'self-loop')}")
        shown = [warning for warning in report.warnings if "warnings" in given and given["warnings"] in warning]
        return told + [f"warning: {warning}" for warning in shown]

    def unload(self) -> list[str]:
        self.client.unload(graph=self.graph)
        return ["unloaded"]

    def plan(self, start: str, goal: str) -> list[str]:
        return describe_plan(self.client.plan(start, goal, graph=self.graph))

    def costs(self, *nodes: str) -> list[str]:
        pairs = list(zip(nodes[::2], nodes[1::2], strict=True))
        answers = sorted(self.client.plan_many(pairs, graph=self.graph), key=lambda answer: answer.index)
        return [
            f"{start} {goal}: {answer.plan.cost:g}" if answer.plan else f"{start} {goal}: {type(answer.error).__name__}"
            for (start, goal), answer in zip(pairs, answers, strict=True)
        ]

    def neighbors(self, node: str, depth: str, direction: str = "out") -> list[str]:
        assert direction in {"out", "in", "both"}
        found = self.client.neighbors(node, depth=int(depth), direction=direction, graph=self.graph)  # type: ignore[arg-type]
        return [f"{n.node}: {counted(n.hops, 'hop')}, cost {n.cost:g}, in {n.partition}" for n in found.neighbors] or [
            "none"
        ]

    def partitions(self) -> list[str]:
        return [
            f"{p.name}: {counted(p.nodes, 'node')}, {counted(p.internal_edges, 'internal edge')}, "
            f"exits {p.exits}, entries {p.entries}"
            for p in self.client.partitions(graph=self.graph)
        ]

    def best_exit(self, start: str, goal: str) -> list[str]:
        cost = best_exit_cost(self.domains, self.edges, start, goal)
        return [f"piecewise best exit: {cost:g}"]


def describe_plan(plan: Plan) -> list[str]:
    """Cost and steps on one line, the partitions on the next."""
    path = "".join(f" -{step.cost:g}-> {step.target}" for step in plan.steps)
    return [f"{plan.cost:g}: {plan.start}{path}", f"partitions: {', '.join(plan.partitions)}"]


def describe_error(error: PlanmeshError) -> list[str]:
    """Code, reason and what a program is told besides."""
    told = [f"{code_of(error).name} {reason_of(error)}: {error.message}"]
    if isinstance(error, NodeUnknown):
        told.append(f"near: {', '.join(error.near) or 'none'}")
    if isinstance(error, InvalidGraph):
        told.append(" | ".join(error.metadata.get(key, "") for key in ("source", "record", "field")))
    return told


def counted(count: int, noun: str) -> str:
    """A number and its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
