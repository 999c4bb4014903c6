"""Checks of deploy/kubernetes beyond schemas: that its objects fit each other and the programs that they start.

Read the output of `scripts/render-kubernetes`; `make kubernetes-check` runs both.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import yaml

from planmesh.dispatch.queues import BUILD_QUEUE
from planmesh.rpc.server import LIVENESS
from planmesh.settings import (
    CoordinatorSettings,
    GatewaySettings,
    PartitionSettings,
    ProcessSettings,
    WorkerSettings,
    read_settings,
)
from planmesh.telemetry import names
from tests.deploy.manifests import OVERLAYS, ROOT, Container, Labels, Manifests, probes
from workers.pulse import ALIVE, READY

pytestmark = pytest.mark.kubernetes

MODELS: Final[dict[str, type[ProcessSettings]]] = {
    "services.gateway": GatewaySettings,
    "services.coordinator": CoordinatorSettings,
    "services.partition": PartitionSettings,
    "workers": WorkerSettings,
}
CLOSING_S: Final = 5
"""Time that a process needs after the two stages of its shutdown, to close connections and flush its telemetry."""


@pytest.fixture(scope="module", params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return Manifests(request.param)


@pytest.fixture(scope="module")
def production() -> Manifests:
    return Manifests("production")


def settings_of(manifests: Manifests, container: Container) -> ProcessSettings:
    python, option, module = container.spec["args"]
    assert (python, option) == ("python", "-m")
    return read_settings(MODELS[module], manifests.environment(container))


def ours(manifests: Manifests) -> list[Container]:
    found = [item for item in manifests.containers() if item.is_ours]
    assert {item.name for item in found} >= {"gateway", "coordinator", "partition", "builder", "worker-0"}
    return found


def test_every_process_can_start_with_its_variables(manifests: Manifests) -> None:
    for container in ours(manifests):
        settings = settings_of(manifests, container)
        own = [entry["name"] for entry in container.spec["env"] if entry["name"].startswith("PLANMESH_")]
        assert own
        for name in own:
            field = name.removeprefix("PLANMESH_").lower()
            assert field in type(settings).model_fields, f"{container.name} does not read {name}"


def test_every_shard_has_workers(manifests: Manifests) -> None:
    settings = settings_of(manifests, manifests.container("coordinator"))
    assert isinstance(settings, CoordinatorSettings)
    workers = [settings_of(manifests, item) for item in ours(manifests) if item.name.startswith("worker-")]
    shards = sorted(item.worker_shard for item in workers if isinstance(item, WorkerSettings))
    assert shards == list(range(settings.shards))


def test_services_select_pods_that_have_the_port(manifests: Manifests) -> None:
    for service in manifests.of("Service"):
        if service["spec"].get("type") == "ExternalName":
            continue
        (container,) = manifests.selected(service["spec"]["selector"])
        for port in service["spec"]["ports"]:
            assert container.ports[port["targetPort"]] == port["port"]


def test_selectors_select_their_own_pods_and_no_others(manifests: Manifests) -> None:
    for workload in manifests.of("Deployment", "StatefulSet"):
        name = workload["metadata"]["name"]
        assert [item.name for item in manifests.selected(workload["spec"]["selector"])] == [name]
        for constraint in workload["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            assert [item.name for item in manifests.selected(constraint["labelSelector"])] == [name]


def test_processes_listen_where_they_are_called(manifests: Manifests) -> None:
    for container in ours(manifests):
        settings = settings_of(manifests, container).model_dump()
        for field, value in settings.items():
            if field.endswith("_listen"):
                host, _, port = value.rpartition(":")
                assert host == "0.0.0.0"
                assert int(port) == container.ports["grpc"]
            elif field.endswith("_address"):
                host, _, port = value.removeprefix("dns:///").rpartition(":")
                service = manifests.get("Service", host)
                # Only the single partition service must be found while it is not ready.
                is_one_of_many = value.startswith("dns:///")
                assert is_one_of_many != service["spec"].get("publishNotReadyAddresses", False)
                assert [item["port"] for item in service["spec"]["ports"]] == [int(port)]
                assert service["spec"]["clusterIP"] == "None", "callers would see one address instead of all"


def test_probes_target_existing_ports_and_files(manifests: Manifests) -> None:
    for container in manifests.containers():
        asked = dict(probes(container))
        assert asked["livenessProbe"] != asked["readinessProbe"]
        for name, probe in asked.items():
            if "grpc" in probe:
                assert probe["grpc"]["port"] in container.ports.values()
                is_readiness = name == "readinessProbe"
                assert probe["grpc"].get("service") == (None if is_readiness else LIVENESS)
            elif "tcpSocket" in probe:
                assert probe["tcpSocket"]["port"] in container.ports
            elif container.is_ours:
                program, file, seconds = probe["exec"]["command"]
                settings = settings_of(manifests, container)
                assert isinstance(settings, WorkerSettings)
                assert settings.worker_pulse is not None
                assert program == "fresh"
                assert file == str(settings.worker_pulse / (READY if name == "readinessProbe" else ALIVE))
                assert int(seconds) > 1
                assert any(mount["mountPath"] == str(settings.worker_pulse) for mount in container.spec["volumeMounts"])
            else:
                assert "redis-cli" in probe["exec"]["command"][-1]


def test_the_image_has_the_program_of_the_probes() -> None:
    copied = re.findall(
        r"^COPY (deploy/docker/\S+(?: deploy/docker/\S+)*) /usr/local/bin/$", (ROOT / "Dockerfile").read_text(), re.M
    )
    assert "deploy/docker/fresh" in copied[0].split()
    assert (ROOT / "deploy" / "docker" / "fresh").stat().st_mode & 0o111


def test_the_grace_period_covers_the_shutdown(manifests: Manifests) -> None:
    for container in ours(manifests):
        settings = settings_of(manifests, container)
        before = container.spec.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        needed = before + settings.shutdown_leave_s + settings.shutdown_grace_s + CLOSING_S
        if container.ports:
            assert settings.shutdown_leave_s > 0, "callers would find a closed port"
            assert container.pod["terminationGracePeriodSeconds"] >= needed


def test_containers_have_few_privileges(manifests: Manifests) -> None:
    for container in manifests.containers():
        security, pod = container.spec["securityContext"], container.pod
        assert security == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        manifests.get("ServiceAccount", pod["serviceAccountName"])


def test_containers_have_requests_and_limits(manifests: Manifests) -> None:
    for container in manifests.containers():
        resources = container.spec["resources"]
        assert {"cpu", "memory"} <= resources["requests"].keys()
        # Memory only: a limit of processor time would make calls wait while processors idle.
        assert "memory" in resources["limits"]


def test_mounted_volumes_exist(manifests: Manifests) -> None:
    kinds = {"persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"), "secret": ("Secret", "secretName")}
    kinds["configMap"] = ("ConfigMap", "name")
    for container in manifests.containers():
        volumes = {item["name"]: item for item in container.pod.get("volumes", [])}
        volumes |= {item["metadata"]["name"]: {} for item in container.workload["spec"].get("volumeClaimTemplates", [])}
        assert {mount["name"] for mount in container.spec["volumeMounts"]} == volumes.keys()
        for volume in volumes.values():
            for source, (kind, key) in kinds.items():
                if source in volume:
                    manifests.get(kind, volume[source][key])


def test_readers_of_snapshots_cannot_write_them(manifests: Manifests) -> None:
    writing = set()
    for container in ours(manifests):
        for mount in container.spec["volumeMounts"]:
            if mount["name"] == "snapshots" and not mount.get("readOnly"):
                writing.add(container.name)
    assert writing == {"partition", "builder"}


def test_there_is_one_owner_of_the_catalog(manifests: Manifests) -> None:
    partition = manifests.container("partition").workload["spec"]
    assert partition["replicas"] == 1
    assert partition["strategy"] == {"type": "Recreate"}


def test_policies_allow_only_what_is_needed(manifests: Manifests) -> None:
    labels: dict[str, Labels] = {item.name: item.labels for item in manifests.containers()}
    ports = {"gateway": 50051, "coordinator": 50052, "partition": 50053, "envoy": 50051}
    needed = {
        ("envoy", "gateway"),
        ("gateway", "coordinator"),
        ("gateway", "partition"),
        ("coordinator", "partition"),
    }
    if "redis" in labels:
        ports["redis"] = 6379
        needed |= {(name, "redis") for name in labels if name not in {"redis", "gateway", "envoy"}}
    allowed = {
        (source, target)
        for source in labels
        for target, port in ports.items()
        if manifests.allows(labels[source], labels[target], port)
    }
    if "redis" in labels:
        # So that a client can run in the mesh's namespace.
        client = {"planmesh-client": "true"}
        assert manifests._passes("Ingress", labels["envoy"], client, 50051)
    assert allowed == needed


def test_budgets_watch_over_one_workload_each(production: Manifests) -> None:
    watched = [manifest_names(production, item) for item in production.of("PodDisruptionBudget")]
    assert sorted(watched) == [["coordinator"], ["envoy"], ["gateway"], ["worker-0"], ["worker-1"]]


def manifest_names(manifests: Manifests, budget: dict[str, Any]) -> list[str]:
    return [item.name for item in manifests.selected(budget["spec"]["selector"])]


def test_there_is_no_budget_for_single_replicas() -> None:
    dev = Manifests("dev")
    assert {item["spec"]["replicas"] for item in dev.of("Deployment")} == {1}
    assert not dev.of("PodDisruptionBudget", "HorizontalPodAutoscaler", "ScaledObject")


def test_autoscalers_alone_set_the_replicas_of_their_targets(production: Manifests) -> None:
    scaled = set()
    for scaler in production.of("HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler["spec"]["scaleTargetRef"]["name"]
        assert target == scaler["metadata"]["name"]
        assert "replicas" not in production.get("Deployment", target)["spec"], "applying it would reset them"
        scaled.add(target)
    assert scaled == {"gateway", "coordinator", "builder", "worker-0", "worker-1"}


def test_services_are_scaled_by_a_metric_that_is_exported(production: Manifests) -> None:
    adapter = yaml.safe_load(
        (ROOT / "deploy" / "kubernetes" / "overlays" / "production" / "prometheus-adapter.yaml").read_text()
    )
    rules = {rule["name"]["as"]: rule for rule in adapter["rules"]["custom"]}
    for scaler in production.of("HorizontalPodAutoscaler"):
        metrics = {item["type"]: item for item in scaler["spec"]["metrics"]}
        assert metrics.keys() == {"Resource", "Pods"}
        rule = rules[metrics["Pods"]["pods"]["metric"]["name"]]
        assert rule["seriesQuery"].split("{")[0] == exported(names.METRIC_CALL_DURATION) + "_seconds_count"
        # The adapter distinguishes pods by labels that are resource attributes of every process.
        container = production.container(scaler["spec"]["scaleTargetRef"]["name"])
        attributes = production.environment(container)["OTEL_RESOURCE_ATTRIBUTES"]
        keys = {exported(pair.split("=")[0]) for pair in attributes.split(",")}
        assert rule["resources"]["overrides"].keys() == keys


def test_query_workers_are_scaled_by_what_waits_for_their_shard(production: Manifests) -> None:
    found = {item["metadata"]["name"]: item["spec"]["triggers"] for item in production.of("ScaledObject")}
    namespace = production.of("Namespace")[0]["metadata"]["name"]
    for container in ours(production):
        if not container.name.startswith("worker-"):
            continue
        (trigger,) = found[container.name]
        shard = container.labels["shard"]
        labels = f'k8s_namespace_name="{namespace}",{exported(names.SHARD)}="{shard}"'
        assert trigger["type"] == "prometheus"
        assert trigger["metadata"]["query"] == f"sum({exported(names.METRIC_QUEUE_DEPTH)}{{{labels}}})"
        assert trigger["metadata"]["ignoreNullValues"] == "false"


def test_builders_are_scaled_by_the_list_of_build_tasks(production: Manifests) -> None:
    (trigger,) = production.get("ScaledObject", "builder")["spec"]["triggers"]
    assert trigger["type"] == "redis"
    assert trigger["metadata"]["listName"] == BUILD_QUEUE
    authentication = production.get("TriggerAuthentication", trigger["authenticationRef"]["name"])
    for reference in authentication["spec"]["secretTargetRef"]:
        assert reference["key"] in production.get("Secret", reference["name"])["data"]


def test_the_list_of_build_tasks_is_in_the_redis_of_the_processes(production: Manifests) -> None:
    settings = settings_of(production, production.container("builder"))
    assert isinstance(settings, WorkerSettings)
    url = urlsplit(settings.redis_servers[0])
    metadata = production.get("ScaledObject", "builder")["spec"]["triggers"][0]["metadata"]
    assert int(metadata.get("databaseIndex", 0)) == int(url.path.strip("/") or 0)


def test_secrets_are_recognisable_examples() -> None:
    for example in (ROOT / "deploy" / "kubernetes").rglob("secrets/*.example"):
        words = re.findall(r"set-a-password|replace-this-token", example.read_text())
        assert words, f"{example} holds something that could be a secret"


def exported(name: str) -> str:
    """Return the name under which Prometheus has an attribute or metric."""
    return name.replace(".", "_")
