"""`python -m bench.scaling measure`, `scales`, `grow`, `report`: see docs/operations/scaling.md."""

from __future__ import annotations

import argparse
import sys
import time

from bench.machine import describe_machine
from bench.scaling.growth import write_grown
from bench.scaling.measuring import VALIDATED, measure_scale, measure_size
from bench.scaling.record import Record, read_record, write_record
from bench.scaling.report import BASE_NODES, write_report

SIZES = (10_000, 100_000, 1_000_000)
SECONDS = 8.0


def main() -> None:
    """Run one of the commands."""
    options = _options()
    if options.command == "grow":
        write_grown(read_record().costs(BASE_NODES))
        return
    if options.command == "report":
        write_report(read_record())
        return
    record = read_record() if options.add else Record(time.strftime("%Y-%m-%d"), describe_machine())
    for nodes in (int(text) for text in options.nodes.split(",")) if options.command == "measure" else ():
        record.sizes[str(nodes)] = measure_size(nodes, options.seconds, _say)
        write_record(record)
    for scale in VALIDATED if options.command == "scales" else ():
        measured = measure_scale(scale, BASE_NODES, options.seconds, _say)
        record.scales = [one for one in record.scales if Record.scale_of(one) != scale] + [measured]
        _say(f"{scale}: {measured['plans_per_second']:,.0f} plans/s")
        write_record(record)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="measure processor time, memory and files, one process of each kind")
    measure.add_argument("--nodes", default=",".join(map(str, SIZES)), help="sizes of the graphs")
    scales = commands.add_parser(
        "scales", help="measure the throughput with more processes, for comparison with the simulation"
    )
    for command in (measure, scales):
        command.add_argument("--seconds", type=float, default=SECONDS, help="length of each measurement (default 8)")
        command.add_argument("--add", action="store_true", help="add to docs/benchmarks/scaling.json")
    commands.add_parser("grow", help="simulate meshes of 4 to 400 workers")
    commands.add_parser("report", help="simulate and compare the measured meshes, and draw plots")
    return parser.parse_args()


def _say(text: str) -> None:
    print(f"scaling: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
