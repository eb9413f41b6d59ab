"""Compares the planned ACLs with the brokers' ACLs; adds missing ACLs and removes surplus ACLs.

Owns: the requests to Kafka. Only the ACLs of the given principals are compared; the ACLs of other
principals stay unchanged. ACLs that deny access are never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.errors import KafkaError, NoError
from msgspec import Struct

from cli.acls.plan import Rule

_TYPES: Final = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}
_PATTERNS: Final = {
    "literal": ACLResourcePatternType.LITERAL,
    "prefixed": ACLResourcePatternType.PREFIXED,
}
_OPERATIONS: Final = {
    name: ACLOperation[word]
    for name, word in {
        "All": "ALL",
        "Read": "READ",
        "Write": "WRITE",
        "Create": "CREATE",
        "Describe": "DESCRIBE",
        "DescribeConfigs": "DESCRIBE_CONFIGS",
        "AlterConfigs": "ALTER_CONFIGS",
    }.items()
}
_ANY_HOST: Final = "*"


class Difference(Struct, frozen=True):
    """The planned ACLs that the brokers lack, and the principals' ACLs that are not planned."""

    missing: list[Any]
    extra: list[Any]


def acl_of(principal: str, rule: Rule) -> Any:
    """Return the ACL that allows the operation of this rule from any host."""
    pattern = ResourcePattern(_TYPES[rule.resource], rule.name, _PATTERNS[rule.pattern])
    operation = _OPERATIONS[rule.operation]
    return ACL(principal, _ANY_HOST, operation, ACLPermissionType.ALLOW, pattern)


def compare(admin: Any, accounts: Mapping[str, Sequence[Rule]]) -> Difference:
    """Compare the planned ACLs with the ACLs on the brokers.

    Raises KafkaError, for example if the brokers have no authorizer.
    """
    missing, extra = [], []
    for principal, rules in accounts.items():
        wanted = {acl_of(principal, rule) for rule in rules}
        found = set(_present(admin, principal))
        missing += sorted(wanted - found, key=text_of)
        extra += sorted(found - wanted, key=text_of)
    return Difference(missing, extra)


def add(admin: Any, acls: Sequence[Any]) -> None:
    """Add these ACLs. Raises KafkaError if the brokers refuse one of these ACLs."""
    failed = admin.create_acls(acls)["failed"] if acls else []
    if failed:
        raise KafkaError(f"{len(failed)} ACLs were refused: {failed[0].__name__}")


def remove(admin: Any, acls: Iterable[Any]) -> None:
    """Remove these ACLs. Raises KafkaError if the brokers refuse one of these removals."""
    filters = [
        ACLFilter(
            each.principal,
            each.host,
            each.operation,
            each.permission_type,
            ResourcePatternFilter(
                each.resource_pattern.resource_type,
                each.resource_pattern.resource_name,
                each.resource_pattern.pattern_type,
            ),
        )
        for each in acls
    ]
    answers = admin.delete_acls(filters) if filters else []
    failed = [error for _, _, error in answers if error is not NoError]
    if failed:
        raise KafkaError(f"{len(failed)} ACLs could not be removed: {failed[0].__name__}")


def text_of(acl: Any) -> str:
    """Describe an ACL in one line."""
    pattern = acl.resource_pattern
    star = "*" if pattern.pattern_type == ACLResourcePatternType.PREFIXED else ""
    kind = pattern.resource_type.name.lower().replace("_", "-")
    operation = acl.operation.name.lower().replace("_", " ")
    return f"{acl.principal}: {operation} on {kind} {pattern.resource_name}{star}"


def _present(admin: Any, principal: str) -> list[Any]:
    anything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    asked = ACLFilter(principal, None, ACLOperation.ANY, ACLPermissionType.ALLOW, anything)
    found, error = admin.describe_acls(asked)
    if error is not NoError:
        raise error()
    return list(found)
