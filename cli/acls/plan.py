"""Lists the ACLs that each service, the operator and each client needs on Kafka. Pure.

Owns: the table of rights. The table follows docs/topics.md, which says who writes and reads each
topic. Does not own: printing ACLs (output.py), applying ACLs (broker.py).

Services may describe every topic of the pipeline, because each service checks at its start that all
topics exist. Only the validate service creates topics, and only the topics of its lanes. The
operator creates the other topics with `sluice topics apply` and `sluice clients apply`. A client
may write to its intake and read its own events. A client cannot even see that other topics exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

from msgspec import Struct

from shared.topics import names

Resource = Literal["topic", "group", "transactional-id"]
Pattern = Literal["literal", "prefixed"]

ALL: Final = "All"
READ: Final = "Read"
WRITE: Final = "Write"
CREATE: Final = "Create"
DESCRIBE: Final = "Describe"
DESCRIBE_CONFIGS: Final = "DescribeConfigs"
ALTER_CONFIGS: Final = "AlterConfigs"

OPERATOR: Final = "operator"
# The names of a client's consumer groups and transactional ids begin with this text.
CLIENT_PREFIX: Final = "client."
_BILLING_PREFIX: Final = "billing."
_MAIL_PREFIX: Final = "mail."


class Rule(Struct, frozen=True, order=True):
    """One allowed operation on the resources that have this name or prefix."""

    resource: Resource
    pattern: Pattern
    name: str
    operation: str


class Account(Struct, frozen=True):
    """The rights of one principal. `kind` is `client` or `service`; the operator is a `service`."""

    kind: Literal["service", "client"]
    name: str
    rules: tuple[Rule, ...]


class Tenant(Struct, frozen=True):
    """A client; `own_events` is True if the client has its own events topic."""

    name: str
    own_events: bool = True


def _topics(operation: str, *topics: str) -> Iterator[Rule]:
    """Yield the rules for these topics; a name that ends with a dot is a prefix."""
    for topic in topics:
        yield Rule("topic", "prefixed" if topic.endswith(".") else "literal", topic, operation)


def _transactions(prefix: str) -> Iterator[Rule]:
    for operation in (DESCRIBE, WRITE):
        yield Rule("transactional-id", "prefixed", prefix, operation)


def _everywhere() -> Iterator[Rule]:
    for operation in (DESCRIBE, DESCRIBE_CONFIGS):
        yield from _topics(operation, _MAIL_PREFIX, _BILLING_PREFIX)
    # Each service ends the abandoned transactions of all services
    # (docs/decisions/0059-abandoned-transactions.md). The right to do this is not enough to
    # write to a topic.
    yield from _transactions("sluice.")


def _events() -> Iterator[Rule]:
    return _topics(WRITE, names.EVENTS, names.CLIENT_EVENTS_PREFIX)


def _ingest() -> Iterator[Rule]:
    yield from _topics(READ, names.INTAKE_PREFIX, names.CLIENTS)
    # If a topic was created with the producer's timestamps, the ingest service corrects the topic's
    # config within seconds.
    yield from _topics(ALTER_CONFIGS, names.INTAKE_PREFIX)
    yield from _topics(WRITE, names.RECEIVED, names.REFUSED, names.RETURNED)
    yield from _events()
    yield Rule("group", "literal", "sluice.ingest", READ)


def _validate() -> Iterator[Rule]:
    yield from _topics(READ, names.RECEIVED, names.CLIENTS, names.SUBMISSIONS)
    # The validate process that holds the partition of mail.control counts bounces.
    yield from _topics(READ, names.EVENTS, names.SUPPRESSIONS, names.CONTROL)
    yield from _topics(WRITE, names.SUPPRESSIONS)
    yield Rule("group", "literal", "sluice.responses", READ)
    # The validate service also reads returned mail.
    yield from _topics(READ, names.RETURNED, names.FORWARDING)
    yield from _topics(WRITE, names.RETURNED, names.FORWARDING)
    yield Rule("group", "literal", "sluice.returns", READ)
    # The validate service enforces quotas. Mail waits while its quota is used up.
    yield from _topics(READ, names.QUOTAS, names.HELD)
    yield from _topics(WRITE, names.HELD)
    yield Rule("group", "literal", "sluice.held", READ)
    # The validate service chooses the lanes, so it also creates the topics of lanes.
    yield from _topics(CREATE, names.OUTBOUND_PREFIX)
    yield from _topics(WRITE, names.OUTBOUND_PREFIX, names.DEFERRED_PREFIX)
    yield from _topics(WRITE, names.SUBMISSIONS, names.REFUSED)
    yield from _events()
    # The HTTP API for platforms reads its keys and writes the log of denied requests.
    yield from _topics(READ, names.ACCESS)
    yield from _topics(WRITE, names.ACCESS_LOG)
    yield Rule("group", "literal", "sluice.validate", READ)


def _deliver() -> Iterator[Rule]:
    own = (names.OUTBOUND_PREFIX, names.DEFERRED_PREFIX, names.HANDOVER)
    yield from _topics(READ, *own, names.CONTROL)
    # The deliver service counts the reputation of sources and clients. To suspend a client, the
    # service writes an order to mail.control.
    yield from _topics(READ, names.EVENTS, names.REPUTATION)
    yield from _topics(WRITE, names.REPUTATION, names.CONTROL)
    yield from _topics(WRITE, names.DEFERRED_PREFIX, names.HANDOVER, names.REFUSED, names.RETURNED)
    yield from _events()
    yield Rule("group", "literal", "sluice.deliver", READ)


def _billing(group: str) -> Iterator[Rule]:
    yield from _topics(READ, names.EVENTS, names.STATEMENTS)
    yield from _topics(WRITE, names.STATEMENTS)
    yield from _topics(READ, names.QUOTAS)
    yield from _topics(WRITE, names.QUOTAS)
    yield from _events()
    # The HTTP API reads its keys and the clients, and writes the log of denied requests.
    yield from _topics(READ, names.ACCESS, names.CLIENTS)
    yield from _topics(WRITE, names.ACCESS_LOG)
    yield Rule("group", "literal", group, READ)


def _operator() -> Iterator[Rule]:
    """Yield every right on the pipeline's topics, because `sluice topics`, `clients` and `audit`
    need these rights."""
    yield from _topics(ALL, _MAIL_PREFIX, _BILLING_PREFIX)
    yield Rule("group", "prefixed", "sluice.", DESCRIBE)
    yield from _transactions("sluice.clients.")


def _client(client: Tenant) -> Iterator[Rule]:
    """Yield the rights of a client; in Kafka, the right Write includes the right Describe.

    A dot follows the client's name, so the prefix of `shop` does not match names of `shop-2`.
    """
    yield from _topics(WRITE, names.intake(client.name))
    own = f"{CLIENT_PREFIX}{client.name}."
    yield Rule("transactional-id", "prefixed", own, WRITE)
    if client.own_events:
        yield from _topics(READ, names.own_events(client.name))
        yield Rule("group", "prefixed", own, READ)


def service_accounts(billing_group: str = "sluice.billing") -> list[Account]:
    """Return the rights that the four services and the operator need."""
    found = {
        "ingest": (*_everywhere(), *_ingest()),
        "validate": (*_everywhere(), *_validate()),
        "deliver": (*_everywhere(), *_deliver()),
        "billing": (*_everywhere(), *_billing(billing_group)),
        OPERATOR: tuple(_operator()),
    }
    return [Account("service", name, tuple(sorted(rules))) for name, rules in found.items()]


def client_accounts(clients: Iterable[Tenant]) -> list[Account]:
    """Return the rights that these clients need, ordered by client name."""
    ordered = sorted(clients, key=lambda client: client.name)
    return [Account("client", one.name, tuple(sorted(_client(one)))) for one in ordered]
