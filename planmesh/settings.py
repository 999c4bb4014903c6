"""Settings: one frozen model per process, read once in its `main` from PLANMESH_* variables and passed down.

The field `gateway_listen` is read from PLANMESH_GATEWAY_LISTEN, and so on. All processes of a mesh may share one
environment, so each process accepts the variables of all models. An unknown variable is an error that suggests the
nearest known name, because a silently ignored misspelt setting would only be noticed in production. The OpenTelemetry
SDK reads OTEL_* variables.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, TypeVar

from pydantic import ValidationError
from rapidfuzz import process as rapidfuzz_process

from planmesh.setting_models import (
    GATEWAY_PROCESSES_MAX,
    PREFIX,
    SHADOW_PROCESSOR_SHARE_MAX,
    Address,
    BrokerSettings,
    CoordinatorSettings,
    GatewaySettings,
    PartitionSettings,
    ProcessSettings,
    WorkerSettings,
)

__all__ = [
    "GATEWAY_PROCESSES_MAX",
    "MODELS",
    "OTHER_VARIABLES",
    "PLACED_FIELDS",
    "PREFIX",
    "SHADOW_PROCESSOR_SHARE_MAX",
    "Address",
    "BrokerSettings",
    "CoordinatorSettings",
    "GatewaySettings",
    "PartitionSettings",
    "ProcessSettings",
    "SettingsError",
    "WorkerSettings",
    "known_variables",
    "read_settings",
]

NEAR_SCORE_MIN: Final = 60.0
"""Similarity in percent below which no variable is suggested."""


class SettingsError(ValueError):
    """The environment has invalid settings. The message lists all problems, for people to read."""


MODELS: Final[tuple[type[ProcessSettings], ...]] = (
    GatewaySettings,
    CoordinatorSettings,
    PartitionSettings,
    WorkerSettings,
)
"""The models of all processes."""

PLACED_FIELDS: Final = frozenset(
    {
        *("gateway_listen", "coordinator_listen", "partition_listen"),
        *("coordinator_address", "partition_address", "redis_url"),
        *("data", "shards", "worker_role", "worker_shard"),
    }
)
"""Fields that define a process's place in the mesh. In a container their defaults would be wrong: addresses would reach
no other process, and of two shards one would have no worker and the other two."""

OTHER_VARIABLES: Final = frozenset({"PLANMESH_ADDRESS", "PLANMESH_TOKEN", "PLANMESH_TEST_DATA"})
"""Variables that the command line, the client and the tests read."""

Settings = TypeVar("Settings", bound=ProcessSettings)


def known_variables() -> frozenset[str]:
    """Return all PLANMESH_* variables that any process, tool or test reads."""
    fields = {PREFIX + name.upper() for model in MODELS for name in model.model_fields}
    return frozenset(fields) | OTHER_VARIABLES


def read_settings(model: type[Settings], environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of a process from `environ`, by default from the process's environment.

    Raises SettingsError, which lists every unknown variable and every invalid value.
    """
    variables = os.environ if environ is None else environ
    problems = _misspelt(variables)
    values = {
        name: variables[PREFIX + name.upper()] for name in model.model_fields if variables.get(PREFIX + name.upper())
    }
    settings: Settings | None = None
    try:
        settings = model(**values)  # type: ignore[arg-type]  # strings, which pydantic parses
    except ValidationError as error:
        problems += [_explain(model, item["loc"], item["msg"]) for item in error.errors(include_input=False)]
    if "redis_url" in values and "redis_urls" in values:
        problems.append(_explain(model, ("redis_urls",), "expected none, because PLANMESH_REDIS_URL is set; set one"))
    if settings is not None and settings.in_container:
        problems += [
            _explain(model, (name,), "expected a value, because PLANMESH_IN_CONTAINER is set, got none")
            for name in model.model_fields
            if name in PLACED_FIELDS and name not in values and not _is_idle(settings, name, values)
        ]
    if problems or settings is None:
        raise SettingsError("cannot start: invalid settings\n" + "\n".join(f"  - {line}" for line in problems))
    return settings


def _is_idle(settings: ProcessSettings, name: str, given: Mapping[str, str]) -> bool:
    """Whether the process does not use the field. A build worker, for example, has no shard."""
    if name == "redis_url":
        return "redis_urls" in given
    return name == "worker_shard" and isinstance(settings, WorkerSettings) and settings.worker_role == "build"


def _misspelt(variables: Mapping[str, str]) -> list[str]:
    known = known_variables()
    problems = []
    for name in sorted(variables):
        if not name.startswith(PREFIX) or name in known:
            continue
        near = rapidfuzz_process.extractOne(name, sorted(known), score_cutoff=NEAR_SCORE_MIN)
        hint = f"; did you mean {near[0]}?" if near else f"; known settings: {', '.join(sorted(known))}"
        problems.append(f"{name} is not a setting of planmesh{hint}")
    return problems


def _explain(model: type[ProcessSettings], location: tuple[int | str, ...], problem: str) -> str:
    name = str(location[0]) if location else ""
    field = model.model_fields.get(name)
    meaning = f" ({field.description})" if field is not None and field.description else ""
    return f"{PREFIX}{name.upper()}: {problem}{meaning}"
