"""Prints ACLs as commands of kafka-acls.sh and as KafkaUser resources of Strimzi. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml
from msgspec import Struct

from cli.acls.plan import Rule

_OPTIONS: Final = {
    "topic": "--topic",
    "group": "--group",
    "transactional-id": "--transactional-id",
}
_STRIMZI_TYPES: Final = {
    "topic": "topic",
    "group": "group",
    "transactional-id": "transactionalId",
}
_STRIMZI_PATTERNS: Final = {"literal": "literal", "prefixed": "prefix"}

Accounts = Mapping[str, Sequence[Rule]]


class Strimzi(Struct, frozen=True):
    """The values that all KafkaUser resources share."""

    cluster: str
    authentication: str
    namespace: str = ""
    api_version: str = "v1"


def _grouped(rules: Sequence[Rule]) -> dict[tuple[str, str, str], list[str]]:
    """The operations by resource type, pattern and name."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for rule in rules:
        found.setdefault((rule.resource, rule.pattern, rule.name), []).append(rule.operation)
    return found


def as_commands(accounts: Accounts, bootstrap: str) -> str:
    """One command per principal and resource; `admin.properties` logs in an administrator."""
    lines = []
    for principal, rules in accounts.items():
        lines.append(f"# {principal}")
        for (resource, pattern, name), operations in _grouped(rules).items():
            words = ["kafka-acls.sh", "--bootstrap-server", bootstrap]
            words += ["--command-config", "admin.properties", "--add"]
            words += ["--allow-principal", principal]
            words += [part for each in operations for part in ("--operation", each)]
            words += [_OPTIONS[resource], name, "--resource-pattern-type", pattern]
            lines.append(shlex.join(words))
    return "\n".join(lines)


def as_strimzi(accounts: Accounts, strimzi: Strimzi) -> str:
    """Return one KafkaUser per principal, with the principal's name without `User:` (and `CN=`)."""
    documents = [_user(name, rules, strimzi) for name, rules in accounts.items()]
    return yaml.safe_dump_all(documents, sort_keys=False, explicit_start=True).rstrip()


def _user(principal: str, rules: Sequence[Rule], strimzi: Strimzi) -> dict[str, Any]:
    acls = [
        {
            "resource": {
                "type": _STRIMZI_TYPES[resource],
                "name": name,
                "patternType": _STRIMZI_PATTERNS[pattern],
            },
            "operations": operations,
            "host": "*",
        }
        for (resource, pattern, name), operations in _grouped(rules).items()
    ]
    return {
        "apiVersion": f"kafka.strimzi.io/{strimzi.api_version}",
        "kind": "KafkaUser",
        "metadata": {
            "name": principal.removeprefix("User:").removeprefix("CN="),
            **({"namespace": strimzi.namespace} if strimzi.namespace else {}),
            "labels": {"strimzi.io/cluster": strimzi.cluster},
        },
        "spec": {
            "authentication": {"type": strimzi.authentication},
            "authorization": {"type": "simple", "acls": acls},
        },
    }
