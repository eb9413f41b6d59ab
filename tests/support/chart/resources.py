"""Finding things in rendered resources."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from tests.support.chart.rendering import NAMESPACE, Resource

_EXPANDED: Final = re.compile(r"\$\$|\$\((?P<name>[^()]*)\)")


def of_kind(resources: Iterable[Resource], *kinds: str) -> list[Resource]:
    """Return the resources of these kinds."""
    return [each for each in resources if each["kind"] in kinds]


def component_of(resource: Resource) -> str:
    """Return the component that a resource belongs to."""
    return str(resource["metadata"]["labels"]["app.kubernetes.io/component"])


def by_component(resources: Iterable[Resource], kind: str) -> dict[str, Resource]:
    """Return the resources of a kind by their component; only for kinds with one of each."""
    found = of_kind(resources, kind)
    named = {component_of(each): each for each in found}
    assert len(named) == len(found), f"several {kind} for one component"
    return named


def pods(resources: Iterable[Resource]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the spec of each pod, also of those in workloads."""
    for each in resources:
        if each["kind"] in ("StatefulSet", "Deployment", "Job"):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]
        elif each["kind"] == "Pod":
            yield each["metadata"]["name"], each["spec"]


def containers(resources: Iterable[Resource]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of the pod and each of its containers."""
    for name, pod in pods(resources):
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield name, container


def _expanded(reference: re.Match[str], known: dict[str, str]) -> str:
    """Return the text that replaces `$$` or `$(NAME)`; an unknown name is not replaced."""
    return known.get(reference["name"], reference[0]) if reference["name"] else "$"


def environment(container: dict[str, Any], pod_name: str = "pod-0") -> dict[str, str]:
    """Return the variables as the process sees them; a secret's text is `from <name>/<key>`."""
    fields = {"metadata.name": pod_name, "metadata.namespace": NAMESPACE}
    found: dict[str, str] = {}
    for variable in container.get("env", ()):
        source = variable.get("valueFrom", {})
        if "fieldRef" in source:
            value = fields[source["fieldRef"]["fieldPath"]]
        elif "secretKeyRef" in source:
            value = f"from {source['secretKeyRef']['name']}/{source['secretKeyRef']['key']}"
        else:
            value = _EXPANDED.sub(lambda each: _expanded(each, found), variable["value"])
        assert variable["name"] not in found, f"{variable['name']} is set twice"
        found[variable["name"]] = value
    return found
