"""The settings of each process: frozen models with the meaning, the default and the bounds of every field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from planmesh.redis_urls import RedisUrls, read_redis_urls

PREFIX: Final = "PLANMESH_"

SHADOW_PROCESSOR_SHARE_MAX: Final = 0.01
"""Largest share of a core for checks of answers, so that they do not slow queries."""

GATEWAY_PROCESSES_MAX: Final = 64
"""Processes of one gateway. Each opens a stream to every coordinator; more machines serve more than more processes."""

Address = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
"""`host:port`, or `unix:/path` of a socket. Clients also accept `dns:///host:port`, for all addresses of the name."""

ProcessCount = Annotated[int, BeforeValidator(lambda value: 0 if value == "auto" else value)]
"""A number of processes; `auto` is the same as 0."""


class ProcessSettings(BaseSettings):
    """Settings of every process."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Accept values only from `read_settings`, which alone reads the environment and can refuse unknown names."""
        return (init_settings,)

    log_format: Literal["json", "console"] = Field("json", description="Format of the log lines on standard error.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged.")
    shutdown_grace_s: float = Field(
        20.0, ge=0, le=600, description="How long calls in flight may continue after SIGTERM before they are cancelled."
    )
    shutdown_leave_s: float = Field(
        0.0,
        ge=0,
        le=60,
        description="How long a service still accepts calls after SIGTERM while its health reports NOT_SERVING; set "
        "it a little longer than a balancer needs to notice.",
    )
    in_container: bool = Field(
        False,
        description="Requires explicit addresses, shards, roles and data folder, because their defaults suit a mesh on "
        "one machine. The image sets it.",
    )

    usd_per_hour: float = Field(
        0.0, ge=0, le=1e6, description="Price of this process, for the metric of the cost of a plan; 0: unknown."
    )


class GatewaySettings(ProcessSettings):
    """The gateway: the public API."""

    gateway_listen: Address = Field("127.0.0.1:50051", description="Address the public API listens on.")
    gateway_processes: ProcessCount = Field(
        1,
        ge=0,
        le=GATEWAY_PROCESSES_MAX,
        description="Processes that share the port of this gateway, on Linux; 0 or `auto`: one per core that it may "
        "use. The kernel spreads connections over them, not calls. Each process has an equal share of the bounds on "
        "calls in flight, and counts the rates of its own callers.",
    )
    coordinator_address: Address = Field(
        "127.0.0.1:50052",
        description="Address of the coordinator; `dns:///host:port` uses all addresses of the name in turn.",
    )
    partition_address: Address = Field("127.0.0.1:50053", description="Address of the partition service.")
    gateway_token_file: Path | None = Field(
        None, description="File of bearer tokens, one per line; without it the gateway accepts every caller."
    )
    gateway_rate_per_s: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="Plans that a caller may request per second, on average; each pair of a batch and each request "
        "for neighbors or a pattern counts as one. 0: no limit.",
    )
    gateway_read_rate_per_s: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="Reads (graphs, nodes, partitions, samples, pings) that a caller may make per second; 0: no limit.",
    )
    gateway_load_rate_per_s: float = Field(
        0.0, ge=0, le=1_000_000, description="Loads and exports that a caller may begin per second; 0: no limit."
    )
    gateway_update_rate_per_s: float = Field(
        0.0, ge=0, le=1_000_000, description="Batches of changes that a caller may send per second; 0: no limit."
    )
    gateway_admin_rate_per_s: float = Field(
        0.0, ge=0, le=1_000_000, description="Unloads and status requests of a caller per second; 0: no limit."
    )
    gateway_trusted_proxies: str | None = Field(
        None,
        max_length=4_096,
        description="Networks of the proxies whose `x-forwarded-for` identifies a caller without a token, for example "
        "`10.0.0.0/8,fd00::/8`, and `unix` for unix sockets; the gateway ignores the header from others. Only proxies "
        "may reach the gateway from these networks, because any client there can claim any address.",
    )
    gateway_trusted_hops: int = Field(
        1, ge=1, le=16, description="Number of these proxies in a row that each append an address to the header."
    )
    gateway_in_flight_max: int = Field(
        1_000,
        ge=1,
        le=1_000_000,
        description="Plans, neighbors and patterns in flight; further ones are refused as OVERLOADED.",
    )
    gateway_batches_in_flight_max: int = Field(
        1_000,
        ge=1,
        le=1_000_000,
        description="PlanMany and PlanMatrix calls in flight; further ones are refused as OVERLOADED.",
    )
    gateway_reads_in_flight_max: int = Field(
        1_000, ge=1, le=1_000_000, description="Reads in flight; further ones are refused as OVERLOADED."
    )
    gateway_loads_in_flight_max: int = Field(
        100, ge=1, le=1_000_000, description="Loads and exports in flight; further ones are refused as OVERLOADED."
    )
    gateway_updates_in_flight_max: int = Field(
        1_000, ge=1, le=1_000_000, description="Updates and streams of them in flight; more are refused as OVERLOADED."
    )
    gateway_admin_in_flight_max: int = Field(
        100, ge=1, le=1_000_000, description="Unloads and status requests in flight; more are refused as OVERLOADED."
    )
    gateway_load_first_message_s: float = Field(
        30.0, gt=0, le=3_600, description="Maximum wait for the first message of a load, or of a stream of updates."
    )
    gateway_load_message_s: float = Field(
        120.0,
        gt=0,
        le=3_600,
        description="Maximum wait between messages of a load (120 s in any case), or for updates on an idle stream.",
    )
    gateway_pairs_in_flight_max: int = Field(
        50_000,
        ge=1,
        le=10_000_000,
        description=(
            "Pairs of all PlanMany calls, and sources and targets of all PlanMatrix calls, in flight; further ones are"
            " refused as OVERLOADED."
        ),
    )
    gateway_readiness_interval_s: float = Field(
        0.5, gt=0, le=60, description="Interval of the readiness checks of the coordinator."
    )


class BrokerSettings(ProcessSettings):
    """Settings of every process that uses Redis."""

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), description="Redis: task queues, replies and the shared cache."
    )
    redis_urls: RedisUrls | None = Field(
        None,
        description="Several Redis servers instead of `redis_url`, separated by commas, in the same order for every "
        "process: query queues and replies are spread over them by shard, and the first one has all the rest.",
    )

    @property
    def redis_servers(self) -> tuple[str, ...]:
        """The URLs of all Redis servers, with their passwords. The first one has what does not belong to a shard."""
        if self.redis_urls is None:
            return (self.redis_url.get_secret_value(),)
        return read_redis_urls(self.redis_urls.get_secret_value())


class CoordinatorSettings(BrokerSettings):
    """The coordinator: computes plans."""

    coordinator_listen: Address = Field("127.0.0.1:50052", description="Address the coordinator listens on.")
    partition_address: Address = Field("127.0.0.1:50053", description="Address of the partition service.")
    shards: int = Field(2, ge=1, le=1_000, description="Query queues; each serves a contiguous range of partitions.")
    coordinator_cache_entries: int = Field(
        20_000, ge=0, le=10_000_000, description="Answers kept in the coordinator's memory; 0: none."
    )
    coordinator_shared_cache_ttl_s: int = Field(
        300,
        ge=0,
        le=86_400,
        description="How long an answer stays in Redis for other coordinators; 0: none is kept there.",
    )
    coordinator_shared_cache_ttl_max_s: int = Field(
        3_600,
        ge=0,
        le=86_400,
        description="If fewer than 70 % of the last 1,000 plans came from the cache, the coordinator doubles "
        "`coordinator_shared_cache_ttl_s`, up to this value; 0: it never does.",
    )
    staleness_ms_max: int = Field(
        1_000,
        ge=0,
        le=3_600_000,
        description="How far behind the newest acknowledged change an answer may be. A coordinator that cannot know it "
        "is not ready, and answers only plans that ask for a version that it has; 0: no bound.",
    )
    coordinator_expands: bool = Field(
        True,
        description="Whether the coordinator expands the segments of plans from the partitions' files, which it maps. "
        "Otherwise workers do, in a second task: for coordinators that read the data folder over a slow network.",
    )
    coordinator_batch_items_max: int = Field(
        64, ge=1, le=10_000, description="Maximum items in one task: dispatch costs the same for 1 and for 64."
    )
    coordinator_tasks_in_flight_max: int = Field(
        2, ge=1, le=1_000, description="Tasks in flight per shard and worker; further work waits for the next batch."
    )
    coordinator_hedge_floor_ms: float = Field(
        50.0, ge=1, le=60_000, description="Minimum time before work without a reply is sent a second time."
    )
    coordinator_worker_grace_s: float = Field(
        3.0,
        gt=0,
        le=600,
        description="How long requests wait for Redis or a shard's worker to return before they are refused.",
    )
    redis_persistence: Literal["any", "append-only"] = Field(
        "any",
        description="With `append-only` a coordinator is not ready while Redis has no append-only file or cannot "
        "write it, because waiting tasks would be lost if Redis ended.",
    )
    shadow_share: float = Field(
        0.001,
        ge=0,
        le=1,
        description="Share of the plans that a build worker computes a second time, by a plain search on the same "
        "version, to find wrong answers; 0: none.",
    )
    shadow_no_path_share: float = Field(
        0.02, ge=0, le=1, description="The same share, for answers that no path exists; 0: none."
    )


class PartitionSettings(BrokerSettings):
    """The partition service: catalog, ingest, versions."""

    partition_listen: Address = Field("127.0.0.1:50053", description="Address the partition service listens on.")
    data: Path = Field(Path(".planmesh"), description="Folder of the system of record and the snapshots.")
    shards: int = Field(2, ge=1, le=1_000, description="Query queues; each serves a contiguous range of partitions.")
    partition_build_stall_s: float = Field(
        120.0, gt=0, le=86_400, description="How long a build waits for any sign of a build worker before it fails."
    )
    partition_adoption_wait_s: float = Field(
        60.0, ge=0, le=3_600, description="How long a finished load waits for the coordinators to serve it."
    )
    delta_edges_max: int = Field(
        100_000,
        ge=1,
        le=10_000_000,
        description="Changes of a graph since its indexes were built; at this number updates are refused until the "
        "changes are merged into them.",
    )
    merge_after_s: float = Field(
        300.0,
        ge=0,
        le=86_400,
        description="How long changes of a graph may wait until they are merged into the indexes.",
    )
    partition_loads_max: int = Field(
        2, ge=1, le=100, description="Loads at the same time; further ones are refused as OVERLOADED."
    )
    partition_versions_kept: int = Field(
        2, ge=1, le=100, description="Versions of a graph whose snapshots are kept, the served one included."
    )
    partition_version_grace_s: float = Field(
        60.0, ge=0, le=86_400, description="How long a replaced snapshot is kept for plans that still use it."
    )
    stores: SecretStr = Field(
        SecretStr("{}"),
        description="Stores of graphs, for `planmesh match`: a JSON object of graph names and URLs. The URL's option "
        "`password_file` can name a file that contains the password.",
    )


class WorkerSettings(BrokerSettings):
    """A worker process: query tasks of one shard, or build tasks."""

    worker_role: Literal["query", "build"] = Field("query", description="Kind of tasks that the worker takes.")
    worker_shard: int = Field(0, ge=0, le=999, description="Shard that a worker with the role query serves.")
    worker_open_partitions_max: int = Field(
        4_096,
        ge=1,
        le=100_000,
        description="Partition files kept mapped; beyond that the worker closes the least recently used ones.",
    )
    worker_build_threads: int = Field(
        0,
        ge=0,
        le=1_024,
        description="Partitions that a build worker builds concurrently; 0: one per processor.",
    )
    shadow_processor_share: float = Field(
        SHADOW_PROCESSOR_SHARE_MAX,
        ge=0,
        le=SHADOW_PROCESSOR_SHARE_MAX,
        description="Maximum share of one core that a build worker spends on checking answers; 0: it checks none.",
    )
    worker_pulse: Path | None = Field(
        None,
        description="Folder in which the worker renews the files `alive` and `ready` every second, for probes that "
        "check their age; without it the worker writes none.",
    )
