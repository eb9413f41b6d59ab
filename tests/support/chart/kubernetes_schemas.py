"""Validates resources against Kubernetes' own schemas, and against the CRDs' (crd_schemas.py).

The schemas of Kubernetes come with the wheel kubernetes-validate; its own function reads them from
the disk for every resource.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
from kubernetes_validate.utils import all_versions
from referencing import Registry, Resource

from tests.support.chart.crd_schemas import CRD_SCHEMAS

_SCHEMAS: Final = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
_VERSIONS: Final = 3


def newest_versions() -> list[str]:
    """Return the newest versions of Kubernetes that have schemas, such as `1.37.0`."""
    plain = dict.fromkeys(each.partition("-")[0] for each in all_versions())
    return list(plain)[-_VERSIONS:]


def faults(resource: dict[str, Any], version: str) -> Iterator[str]:
    """Yield the faults of a resource, each with its place."""
    kind, group = resource["kind"], resource["apiVersion"]
    name = resource["metadata"]["name"]
    crd = CRD_SCHEMAS.get((group, kind))
    checker = jsonschema.Draft7Validator(crd) if crd else _validator(version, group, kind)
    for error in checker.iter_errors(resource):
        yield f"{kind} {name}: {'.'.join(map(str, error.absolute_path))}: {error.message}"


@cache
def _validator(version: str, group: str, kind: str) -> Any:
    # networking.k8s.io/v1 -> networking-v1
    named = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", group)
    path = _SCHEMAS / f"v{version}-local-strict" / f"{kind.lower()}-{named}.json"
    assert path.exists(), f"no schema of {group} {kind} for Kubernetes {version}"
    schema = json.loads(path.read_bytes())
    registry = Resource.from_contents(schema) @ _definitions(version)
    return jsonschema.Draft202012Validator(schema, registry=registry)


@cache
def _definitions(version: str) -> Registry[Any]:
    path = _SCHEMAS / f"v{version}-local-strict" / "_definitions.json"
    empty: Registry[Any] = Registry()
    return Resource.from_contents(json.loads(path.read_bytes())) @ empty
