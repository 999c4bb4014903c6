"""The rendered manifests of an overlay, and what Kubernetes would make of them: pods and their variables."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
RENDERED: Final = ROOT / "build" / "kubernetes"
OVERLAYS: Final = ("dev", "production")
WORKLOADS: Final = ("Deployment", "StatefulSet")

Manifest = dict[str, Any]
Labels = dict[str, str]


@dataclass(frozen=True)
class Container:
    """The container of a workload; each workload has one."""

    workload: Manifest
    spec: Manifest

    @property
    def name(self) -> str:
        return str(self.workload["metadata"]["name"])

    @property
    def pod(self) -> Manifest:
        pod: Manifest = self.workload["spec"]["template"]["spec"]
        return pod

    @property
    def labels(self) -> Labels:
        labels: Labels = self.workload["spec"]["template"]["metadata"]["labels"]
        return labels

    @property
    def is_ours(self) -> bool:
        """Whether the container runs the image that this project builds."""
        return str(self.spec["image"]).rpartition(":")[0].endswith("planmesh")

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.spec.get("ports", [])}


class Manifests:
    """All objects of one overlay."""

    def __init__(self, overlay: str) -> None:
        path = RENDERED / f"{overlay}.yaml"
        # Fails instead of skipping, because these tests run only on request.
        assert path.is_file(), f"expected {path}; `make kubernetes-check` renders it and runs these tests"
        self.objects: list[Manifest] = list(yaml.safe_load_all(path.read_text()))

    def of(self, *kinds: str) -> list[Manifest]:
        """Return every object of the kinds."""
        return [item for item in self.objects if item["kind"] in kinds]

    def get(self, kind: str, name: str) -> Manifest:
        """Return the one object of a kind and name."""
        found = [item for item in self.of(kind) if item["metadata"]["name"] == name]
        assert len(found) == 1, f"expected one {kind} {name}, found {len(found)}"
        return found[0]

    def containers(self) -> list[Container]:
        """Return every container."""
        found = []
        for workload in self.of(*WORKLOADS):
            pod = workload["spec"]["template"]["spec"]
            assert "initContainers" not in pod, "the tests do not cover these yet"
            (spec,) = pod["containers"]
            found.append(Container(workload, spec))
        return found

    def container(self, name: str) -> Container:
        """Return the container of a workload."""
        return next(item for item in self.containers() if item.name == name)

    def selected(self, selector: Manifest) -> list[Container]:
        """Return the containers whose pods a selector selects."""
        return [item for item in self.containers() if selects(selector, item.labels)]

    def environment(self, container: Container) -> dict[str, str]:
        """Return the variables that the process sees, resolved from the overlay's ConfigMaps and Secrets."""
        variables: dict[str, str] = {}
        for source in container.spec.get("envFrom", []):
            variables |= self.get("ConfigMap", source["configMapRef"]["name"])["data"]
        for entry in container.spec.get("env", []):
            variables[entry["name"]] = self._value(container, entry)
        return variables

    def _value(self, container: Container, entry: Manifest) -> str:
        if "value" in entry:
            return str(entry["value"])
        ((kind, source),) = entry["valueFrom"].items()
        match kind:
            case "secretKeyRef":
                return base64.b64decode(self.get("Secret", source["name"])["data"][source["key"]]).decode()
            case "fieldRef" if source["fieldPath"].startswith("metadata.labels["):
                return container.labels[source["fieldPath"].split("'")[1]]
            case "fieldRef":
                return str(source["fieldPath"])
            case "resourceFieldRef":
                kind_of_bound, name = source["resource"].split(".")
                return str(container.spec["resources"][kind_of_bound][name])
        raise AssertionError(f"expected a known source of {entry['name']}, got {kind}")

    def allows(self, source: Labels, target: Labels, port: int) -> bool:
        """Whether the policies let a pod with labels `source` call one with labels `target` in the same namespace."""
        return self._passes("Egress", source, target, port) and self._passes("Ingress", target, source, port)

    def _passes(self, direction: str, own: Labels, other: Labels, port: int) -> bool:
        policies = [
            policy["spec"]
            for policy in self.of("NetworkPolicy")
            if direction in policy["spec"]["policyTypes"] and selects(policy["spec"]["podSelector"], own)
        ]
        side = "to" if direction == "Egress" else "from"
        return not policies or any(
            port in [item["port"] for item in rule["ports"]]
            and any(
                "namespaceSelector" not in peer and "podSelector" in peer and selects(peer["podSelector"], other)
                for peer in rule[side]
            )
            for policy in policies
            for rule in policy.get(direction.lower(), [])
        )


def selects(selector: Manifest, labels: Labels) -> bool:
    """Whether a Service's selector, or one with matchLabels and matchExpressions, selects pods with these labels."""
    structured = {"matchLabels", "matchExpressions"} & selector.keys()
    wanted = selector.get("matchLabels", {}) if structured else selector
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        expression["operator"] == "In" and labels.get(expression["key"]) in expression["values"]
        for expression in selector.get("matchExpressions", [])
    )


def probes(container: Container) -> Iterator[tuple[str, Manifest]]:
    """Yield the probes of a container by name."""
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert name in container.spec, f"{container.name} has no {name}"
        yield name, container.spec[name]
