from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from planmesh.settings import (
    MODELS,
    PREFIX,
    CoordinatorSettings,
    GatewaySettings,
    PartitionSettings,
    ProcessSettings,
    SettingsError,
    WorkerSettings,
    known_variables,
    read_settings,
)


@pytest.mark.parametrize("model", MODELS)
def test_every_field_has_a_default_and_a_description(model: type[ProcessSettings]) -> None:
    settings = read_settings(model, {})
    for name, field in model.model_fields.items():
        assert field.description, name
        assert hasattr(settings, name)


@pytest.mark.parametrize("model", MODELS)
def test_one_environment_serves_every_process(model: type[ProcessSettings]) -> None:
    environ = {
        "PLANMESH_REDIS_URL": "redis://:secret@127.0.0.1:6400/0",
        "PLANMESH_DATA": "/data",
        "PLANMESH_SHARDS": "3",
        "PLANMESH_GATEWAY_LISTEN": "127.0.0.1:6000",
        "PLANMESH_COORDINATOR_LISTEN": "unix:/run/c",
        "PLANMESH_PARTITION_LISTEN": "unix:/run/p",
        "PLANMESH_COORDINATOR_ADDRESS": "unix:/run/c",
        "PLANMESH_PARTITION_ADDRESS": "unix:/run/p",
        "PLANMESH_WORKER_ROLE": "build",
        "PLANMESH_ADDRESS": "127.0.0.1:6000",
        "OTEL_SERVICE_NAME": "x",
        "HOME": "/root",
    }
    settings = read_settings(model, environ)
    for name in model.model_fields:
        if PREFIX + name.upper() in environ:
            assert name in settings.model_fields_set


def test_values_are_parsed() -> None:
    settings = read_settings(CoordinatorSettings, {"PLANMESH_SHARDS": "7", "PLANMESH_REDIS_URL": "redis://:secret@h/0"})
    assert settings.shards == 7
    assert settings.redis_url.get_secret_value() == "redis://:secret@h/0"
    assert "secret" not in repr(settings)
    assert read_settings(PartitionSettings, {"PLANMESH_DATA": "/x"}).data == Path("/x")
    assert read_settings(WorkerSettings, {"PLANMESH_WORKER_ROLE": "build"}).worker_role == "build"
    assert read_settings(GatewaySettings, {"PLANMESH_GATEWAY_TOKEN_FILE": ""}).gateway_token_file is None


def test_settings_do_not_change() -> None:
    settings = read_settings(GatewaySettings, {})
    with pytest.raises(ValidationError):
        settings.gateway_listen = "elsewhere"  # type: ignore[misc]  # assignment must fail


def test_the_real_environment_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANMESH_GATEWAY_IN_FLIGHT_MAX", "17")
    assert read_settings(GatewaySettings).gateway_in_flight_max == 17


def test_a_mapping_is_read_instead_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANMESH_GATEWAY_IN_FLIGHT_MAX", "17")
    assert read_settings(GatewaySettings, {}).gateway_in_flight_max == 1_000


def test_a_misspelt_variable_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(GatewaySettings, {"PLANMESH_GATEWAY_LISTN": "127.0.0.1:1", "PLANMESH_QQQQ": "1"})
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert lines[1].endswith("did you mean PLANMESH_GATEWAY_LISTEN?")
    assert "PLANMESH_QQQQ" in lines[2]


def test_all_problems_are_reported_at_once() -> None:
    environ = {"PLANMESH_SHARDS": "0", "PLANMESH_LOG_LEVEL": "loud", "PLANMESH_SHARD": "1"}
    with pytest.raises(SettingsError) as caught:
        read_settings(CoordinatorSettings, environ)
    text = str(caught.value)
    assert len(text.splitlines()) == 4
    assert "PLANMESH_SHARDS: Input should be greater than or equal to 1" in text
    assert "PLANMESH_LOG_LEVEL" in text
    assert "PLANMESH_SHARD is not a setting" in text


def test_a_bad_secret_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(CoordinatorSettings, {"PLANMESH_SHARDS": "s3cret"})
    assert "s3cret" not in str(caught.value)


def test_the_agreed_variables_are_known() -> None:
    agreed = {
        "REDIS_URL", "DATA", "LOG_FORMAT", "LOG_LEVEL", "SHARDS", "GATEWAY_LISTEN", "COORDINATOR_LISTEN",
        "PARTITION_LISTEN", "COORDINATOR_ADDRESS", "PARTITION_ADDRESS", "GATEWAY_TOKEN_FILE", "GATEWAY_RATE_PER_S",
        "GATEWAY_IN_FLIGHT_MAX", "COORDINATOR_CACHE_ENTRIES", "WORKER_SHARD", "WORKER_ROLE", "ADDRESS",
    }  # fmt: skip
    assert {PREFIX + name for name in agreed} <= known_variables()


SERVERS = "redis://:first@a:6379/0, redis://:two@b:6379/0"


def test_several_redis_servers_keep_their_order() -> None:
    for model in (CoordinatorSettings, PartitionSettings, WorkerSettings):
        settings = read_settings(model, {"PLANMESH_REDIS_URLS": SERVERS})
        assert settings.redis_servers == ("redis://:first@a:6379/0", "redis://:two@b:6379/0")
        assert "first" not in repr(settings)
        assert read_settings(model, {}).redis_servers == ("redis://127.0.0.1:6379/0",)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"PLANMESH_REDIS_URLS": "redis://:secret@a:1/0,"}, "got something else as number 2 of 2"),
        ({"PLANMESH_REDIS_URLS": "http://:secret@a"}, "got something else as number 1 of 1"),
        ({"PLANMESH_REDIS_URLS": "redis://:secret@a,redis://b,redis://:secret@a"}, "the same one as numbers 1 and 3"),
        ({"PLANMESH_REDIS_URLS": "redis://:secret@a", "PLANMESH_REDIS_URL": "redis://b"}, "because PLANMESH_REDIS_URL"),
    ],
    ids=["empty", "scheme", "twice", "both"],
)
def test_bad_lists_of_redis_servers_are_refused(variables: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read_settings(CoordinatorSettings, variables)
    assert "PLANMESH_REDIS_URLS" in str(raised.value)
    assert problem in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_container_needs_one_of_the_two_variables() -> None:
    placed = {"PLANMESH_IN_CONTAINER": "1", "PLANMESH_WORKER_ROLE": "build"}
    read_settings(WorkerSettings, {**placed, "PLANMESH_REDIS_URLS": SERVERS})
    with pytest.raises(SettingsError, match="PLANMESH_REDIS_URL: expected a value"):
        read_settings(WorkerSettings, placed)
