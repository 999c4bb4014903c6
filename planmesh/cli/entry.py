"""The entry point of the program `planmesh`. If packages are missing, it names the extra that the command needs."""

from __future__ import annotations

import json
import sys
from typing import Final

from planmesh.extras import Extra, MissingExtraError, require_extra

FAILED: Final = 1

CLIENT_COMMANDS: Final = frozenset(
    {"blast", "match", "neighbors", "partitions", "plan", "reach", "status", "unload", "update", "version"}
)
"""Commands that only talk to a mesh. Every other command computes on a graph or runs processes."""


def extra_of(arguments: list[str]) -> tuple[Extra, str]:
    """Return the extra that a command line needs, and a description for users. Help and usage need the smallest."""
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    if not command or {"-h", "--help"} & set(arguments):
        return "cli", "the command line"
    return ("cli" if command in CLIENT_COMMANDS else "server"), f"planmesh {command}"


def main() -> None:
    """Run the command line. If an extra is missing, print a message and exit with 1."""
    arguments = sys.argv[1:]
    try:
        require_extra(*extra_of(arguments))
        from planmesh.cli.main import main as run

        run()
    except MissingExtraError as error:
        _print_missing(error, as_json="--json" in arguments)
        sys.exit(FAILED)


def _print_missing(error: MissingExtraError, *, as_json: bool) -> None:
    """Print the error as planmesh.cli.output does, but without its packages, which may be missing."""
    if not as_json:
        sys.stderr.write(f"error: {error}\n")
        return
    found = {"code": "FAILED_PRECONDITION", "reason": "EXTRA_MISSING", "message": str(error), "metadata": {}}
    sys.stdout.write(json.dumps({"error": found}, ensure_ascii=False) + "\n")
