"""Prints docs/reference/configuration.md from the settings models. `make docs` writes the page; a test compares it."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from planmesh import settings

HEAD = """# Configuration

Each process reads its settings once, at its start, from environment variables. A misspelt
`PLANMESH_` variable is an error that names the nearest known one; a value that cannot be parsed is
an error too. `planmesh up` sets the variables that connect the processes of a local mesh, and
passes all others on, so you may set any of these in front of it:

    PLANMESH_LOG_LEVEL=debug PLANMESH_GATEWAY_RATE_PER_S=500 planmesh up

`make docs` generates this page from `planmesh/settings.py`.
"""

TAIL = """## Command line and client

| variable | default | meaning |
|---|---|---|
| `PLANMESH_ADDRESS` | `127.0.0.1:50051` | Gateway that the commands call (`--address`). |
| `PLANMESH_TOKEN` | none | Bearer token that the commands send. |
| `PLANMESH_DATA` | `.planmesh` | Data folder of `planmesh up`, `down` and `status` (`--data`). |
| `PLANMESH_TEST_DATA` | `../shared/data` | Folder of the larger graphs; only the tests use it. |
| `NO_COLOR` | none | If set, output has no colours. |

## OpenTelemetry

planmesh exports traces and metrics only if the standard `OTEL_*` variables name an endpoint; see
[traces and metrics](../operations/tracing.md)."""

PROCESSES = (
    ("Every process", settings.ProcessSettings),
    ("Gateway", settings.GatewaySettings),
    ("Coordinator", settings.CoordinatorSettings),
    ("Partition service", settings.PartitionSettings),
    ("Workers", settings.WorkerSettings),
)


def shown(default: Any) -> str:
    """Render a default as a table cell."""
    plain = default.get_secret_value() if isinstance(default, SecretStr) else default
    return "none" if plain is None else f"`{plain}`"


def main() -> None:
    """Print the page."""
    print(HEAD)
    shared = set(settings.ProcessSettings.model_fields)
    for title, model in PROCESSES:
        print(f"## {title}\n\n| variable | default | meaning |\n|---|---|---|")
        for name, field in model.model_fields.items():
            if model is settings.ProcessSettings or name not in shared:
                print(f"| `{settings.PREFIX}{name.upper()}` | {shown(field.default)} | {field.description} |")
        print()
    print(TAIL)


if __name__ == "__main__":
    main()
