"""Check rendered Kubernetes manifests strictly: `validate_manifests.py SCHEMAS FILE...`, one line for each mistake.

Checks Kubernetes' own kinds against the schemas of the wheel kubernetes-validate, for the oldest and the newest version
that deploy/kubernetes supports. Checks custom kinds against the definitions (CRDs) in the folder SCHEMAS. Strict means
that a field unknown to the schema is a mistake, as with `kubectl apply --validate=strict`.
Exit code 1 if there are mistakes, 2 if there is nothing to check.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

KUBERNETES_VERSIONS = ("1.30", "1.37")
"""The oldest version that vendors still maintain and that has everything the manifests use; and the newest version."""

Schema = dict[str, Any]


def custom_schemas(folder: Path) -> dict[tuple[str, str], Schema]:
    """Return the schemas of all definitions in `folder`, by apiVersion and kind."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        definition = yaml.safe_load(path.read_text())["spec"]
        for version in definition["versions"]:
            key = (f"{definition['group']}/{version['name']}", definition["names"]["kind"])
            found[key] = closed(version["schema"]["openAPIV3Schema"])
    return found


def closed(schema: Any) -> Any:
    """Return the schema with unknown fields refused, as the API server does; definitions leave that out.

    Allows the fields that every object has.
    """
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    is_open = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if schema.get("type") == "object" and "properties" in schema and not is_open:
        result["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
        result["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return result


def mistakes(manifest: Any, custom: dict[tuple[str, str], Schema]) -> Iterator[str]:
    """Yield the mistakes of one manifest."""
    if not isinstance(manifest, dict) or not {"apiVersion", "kind", "metadata"} <= manifest.keys():
        yield "expected an object with apiVersion, kind and metadata"
        return
    schema = custom.get((manifest["apiVersion"], manifest["kind"]))
    if schema is not None:
        for error in jsonschema.Draft7Validator(schema).iter_errors({**manifest, "metadata": {}}):
            yield f"{error.json_path}: {error.message}"
        return
    for version in KUBERNETES_VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(step) for step in error.path)
            yield f"{path or 'object'}: {error.message} (Kubernetes {version})"
        except (kubernetes_validate.SchemaNotFoundError, kubernetes_validate.InvalidSchemaError) as error:
            yield f"no schema for {manifest['apiVersion']} {manifest['kind']}: {error} (Kubernetes {version})"


def main(schemas: str, *files: str) -> int:
    """Check the files, and return the exit code."""
    custom = custom_schemas(Path(schemas))
    if not custom:
        print(f"expected definitions of custom kinds in {schemas}, found none", file=sys.stderr)
        return 2
    checked = wrong = 0
    for file in files:
        for manifest in yaml.safe_load_all(Path(file).read_text()):
            checked += 1
            named = manifest if isinstance(manifest, dict) else {}
            where = f"{file}: {named.get('kind')} {(named.get('metadata') or {}).get('name')}"
            for mistake in mistakes(manifest, custom):
                wrong += 1
                print(f"{where}: {mistake}")
    if not checked:
        print("expected manifests, found none", file=sys.stderr)
        return 2
    print(f"{checked} manifests, {wrong} mistakes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
