"""Names the principal of each account, and formats the ACLs. Pure.

The name of a principal is made from a template such as `User:sluice-{name}`. If the template of
services lacks {name}, all services share one login, which has the rights of all services. Each
client always has its own principal.

ACLs are printed as commands of kafka-acls.sh or as KafkaUser resources of Strimzi.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml
from msgspec import Struct

from cli.acls.plan import Account, Rule

PLACE: Final = "{name}"
SERVICE_TEMPLATE: Final = "User:sluice-{name}"
CLIENT_TEMPLATE: Final = "User:client-{name}"
_KIND: Final = "User:"
_ANYBODY: Final = "User:*"
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


class TemplateFault(ValueError):
    """A template cannot be used; the text gives the reason."""


class Strimzi(Struct, frozen=True):
    """The values that all KafkaUser resources share."""

    cluster: str
    authentication: str
    namespace: str = ""
    api_version: str = "v1"


def check_service_template(template: str) -> None:
    """Raise TemplateFault if this template cannot define the names of the services' principals."""
    if template.count(PLACE) > 1:
        raise _fault("--service-principal", template, f"use {PLACE} once or not at all")
    if not template.startswith(_KIND) or template == _KIND:
        example = f"a text such as {SERVICE_TEMPLATE}, or User:sluice for one login of all services"
        raise _fault("--service-principal", template, f"expected {example}")
    _check_text("--service-principal", template)


def check_client_template(template: str) -> None:
    """Raise TemplateFault if clients would share a principal."""
    if not template.startswith(_KIND) or template.count(PLACE) != 1:
        example = f"expected a text such as {CLIENT_TEMPLATE}, with {PLACE} once"
        raise _fault("--client-principal", template, example)
    _check_text("--client-principal", template)


def _check_text(option: str, template: str) -> None:
    if not template.isprintable():
        raise _fault(option, template, "remove control characters")


def _fault(option: str, template: str, text: str) -> TemplateFault:
    return TemplateFault(f"{option} {template!r}: {text}")


def named(
    accounts: Sequence[Account],
    service_template: str,
    client_template: str,
    *,
    clients_only: bool = False,
) -> dict[str, tuple[Rule, ...]]:
    """Return the rules of each principal; with `clients_only`, return only the rules of clients.

    Raises TemplateFault if two accounts have the same principal, because a client must not get the
    rights of a service. For example, a client may be named `ingest`, or its principal may be the
    login that the services share.
    """
    check_service_template(service_template)
    check_client_template(client_template)
    if PLACE not in service_template:
        accounts = _sharing(accounts)
    templates = {"service": service_template, "client": client_template}
    names = [templates[one.kind].replace(PLACE, one.name) for one in accounts]
    often = [name for name, count in Counter(names).items() if count > 1]
    if often:
        raise TemplateFault(f"two accounts would have the name {often[0]}: choose other templates")
    if _ANYBODY in names:
        raise TemplateFault(f"{_ANYBODY} stands for everybody: choose other templates")
    pairs = zip(names, accounts, strict=True)
    return {name: one.rules for name, one in pairs if one.kind == "client" or not clients_only}


def _sharing(accounts: Sequence[Account]) -> list[Account]:
    """Return the accounts, with the accounts of all services merged into one."""
    shared = dict.fromkeys(rule for one in accounts if one.kind == "service" for rule in one.rules)
    clients = [one for one in accounts if one.kind == "client"]
    return [Account("service", "", tuple(shared)), *clients]


def _grouped(rules: Sequence[Rule]) -> dict[tuple[str, str, str], list[str]]:
    """Return the operations by resource; the key is the resource's type, pattern and name."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for rule in rules:
        found.setdefault((rule.resource, rule.pattern, rule.name), []).append(rule.operation)
    return found


def as_commands(accounts: Accounts, bootstrap: str) -> str:
    """Return one command per principal and resource; an administrator must run the commands."""
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
    """Return one KafkaUser per principal; the resource's name is the principal without `User:` and
    `CN=`."""
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
