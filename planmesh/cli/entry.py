"""Where the program `planmesh` starts: a command whose packages are missing says which extra it needs."""

from __future__ import annotations

import json
import sys
from typing import Final

from planmesh.extras import Extra, MissingExtraError, require_extra

FAILED: Final = 1

CLIENT_COMMANDS: Final = frozenset({"match", "neighbors", "partitions", "plan", "status", "unload", "version"})
"""Commands that only talk to a mesh; every other one computes on a graph or runs processes."""


def extra_of(arguments: list[str]) -> tuple[Extra, str]:
    """The extra that a command line needs, and its words for a person; help and usage need the smallest."""
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    if not command or {"-h", "--help"} & set(arguments):
        return "cli", "the command line"
    return ("cli" if command in CLIENT_COMMANDS else "server"), f"planmesh {command}"


def main() -> None:
    """Run the command line. A missing extra ends it with a message and exit code 1."""
    arguments = sys.argv[1:]
    try:
        require_extra(*extra_of(arguments))
        from planmesh.cli.main import main as run

        run()
    except MissingExtraError as error:
        _print_missing(error, as_json="--json" in arguments)
        sys.exit(FAILED)


def _print_missing(error: MissingExtraError, *, as_json: bool) -> None:
    """As planmesh.cli.output prints errors, which needs packages that may be missing."""
    if not as_json:
        sys.stderr.write(f"error: {error}\n")
        return
    found = {"code": "FAILED_PRECONDITION", "reason": "EXTRA_MISSING", "message": str(error), "metadata": {}}
    sys.stdout.write(json.dumps({"error": found}, ensure_ascii=False) + "\n")
