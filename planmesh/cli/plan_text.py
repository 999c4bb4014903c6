"""A plan as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from planmesh.cli.output import cost_text, escape_markup, out_console, print_table

if TYPE_CHECKING:
    from planmesh.client import Explanation, Plan


def print_plan(plan: Plan) -> None:
    """Print the cost and then the steps, if the plan has them, with a mark wherever it enters another partition."""
    console = out_console()
    steps = () if plan.detail == "cost" else plan.steps
    counted = "" if plan.detail == "cost" else f" in {len(steps)} step{'' if len(steps) == 1 else 's'}"
    crossed = " → ".join(plan.partitions)
    cached = ", from the cache" if plan.cached else ""
    console.print(
        f"[bold]{escape_markup(plan.start)} → {escape_markup(plan.goal)}[/]: "
        f"cost [bold green]{cost_text(plan.cost)}[/]{counted} through {escape_markup(crossed) or 'no partition'}"
    )
    if steps:
        console.print(_steps_table(plan))
    for number, other in enumerate(plan.alternatives, start=1):
        console.print(
            f"alternative {number}: cost [bold green]{cost_text(other.cost)}[/], "
            f"{(other.cost / plan.cost - 1 if plan.cost else 0):+.1%}"
        )
        console.print(_steps_table(other))
    if plan.alternatives_bounded:
        console.print("[dim]The search for alternatives ended at a bound: there may be more.[/]")
    console.print(f"[dim]graph {escape_markup(plan.graph)}, version {plan.version}, trace {plan.trace_id}{cached}[/]")


def _steps_table(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name, justify in (("cost", "right"), ("so far", "right"), ("node", "left"), ("partition", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]  # a literal type of Rich's
    total = 0.0
    table.add_row("", "0", escape_markup(plan.start), _entered(plan.steps[0].source_partition))
    for step in plan.steps:
        total += step.cost
        entered = step.target_partition != step.source_partition
        table.add_row(
            cost_text(step.cost),
            cost_text(total),
            escape_markup(step.target),
            _entered(step.target_partition) if entered else "[dim]│[/]",
        )
    return table


def _entered(partition: str) -> str:
    return f"[bold cyan]┌ {escape_markup(partition)}[/]"


def print_explanation(explanation: Explanation) -> None:
    """Print the phases with times and counts."""
    console = out_console()
    console.print()
    print_table(
        [("phase", False), ("ms", True), ("nodes settled", True), ("tasks", True)],
        [
            (phase.name, f"{phase.duration_ms:.2f}", f"{phase.settled_nodes:,}", str(phase.tasks))
            for phase in explanation.phases
        ]
        + [("total", f"{explanation.total_ms:.2f}", f"{explanation.settled_nodes:,}", str(explanation.tasks))],
    )
    sizes = ", ".join(map(str, explanation.batch_sizes)) or "none"
    console.print(f"[dim]batch sizes {sizes}; retries {explanation.retries}; hedges {explanation.hedges}[/]")
    if explanation.unmerged_changes or explanation.opened_partitions:
        console.print(
            f"[dim]unmerged changes {explanation.unmerged_changes:,}; "
            f"opened partitions {explanation.opened_partitions:,}[/]"
        )
