"""The names and plans of all Kafka topics.

This module owns the names, partitions, sizes and retentions. The other configs are in configs.py,
and topics are created by shared/stream/admin.py. The page docs/topics.md lists the writers of each
topic.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from shared.topics import configs
from shared.topics.retry_topics import RETRY_TOPICS_S

INTAKE_PREFIX: Final = "mail.intake."
OUTBOUND_PREFIX: Final = "mail.outbound."
DEFERRED_PREFIX: Final = "mail.deferred."
RECEIVED: Final = "mail.received"
HANDOVER: Final = "mail.handover"
RETURNED: Final = "mail.returned"
EVENTS: Final = "mail.events"
CLIENT_EVENTS_PREFIX: Final = "mail.events."
SUBMISSIONS: Final = "mail.submissions"
REFUSED: Final = "mail.refused"
CLIENTS: Final = "mail.clients"
SUPPRESSIONS: Final = "mail.suppressions"
CONTROL: Final = "mail.control"
# The topic about the reputation of sources and clients at providers (reputation.py).
REPUTATION: Final = "mail.reputation"
# The topic about the amount of returned mail per client in the present hour
# (services/validate/core/returns/windows.py).
FORWARDING: Final = "mail.forwarding"
STATEMENTS: Final = "billing.statements"
QUOTAS: Final = "billing.quotas"
# Mail over a monthly quota waits on this topic for the next month or a higher quota.
HELD: Final = "mail.held"
ACCESS: Final = "mail.access"
ACCESS_LOG: Final = "mail.access-log"

# kafka-python matches subscription patterns with re.match, so a pattern must end with $.
INTAKE_PATTERN: Final = r"^mail\.intake\.[a-z0-9][a-z0-9-]*$"
DELIVER_PATTERN: Final = r"^mail\.(handover|(outbound|deferred)\.[a-z0-9-]+)$"

# A submission may have 300 KB. A much larger submission must also arrive, so that it can be
# refused.
INTAKE_MAX_RECORD_BYTES: Final = 8 * 1024 * 1024
# The largest size of a pack of messages, with room for one additional message of 300 KB.
PACK_MAX_RECORD_BYTES: Final = 2 * 1024 * 1024

# The size for events, keys and small state. It is larger than a batch of a producer (1 MiB).
MAX_RECORD_BYTES: Final = 2 * 1024 * 1024

# Bills are recounted from the events. So the events of a closed month and of its grace period must
# still be available.
EVENTS_RETENTION_MS: Final = 400 * configs.DAY_MS
# The longest time for which a client may stop reading its client topic. On mail.events the events
# are kept longer.
OWN_EVENTS_RETENTION_MS: Final = 35 * configs.DAY_MS
# The longest window in which duplicates are recognised (35 days), plus one day.
SUBMISSIONS_RETENTION_MS: Final = 36 * configs.DAY_MS
# The longest time for which the ingest or validate service may be down before Kafka deletes
# accepted mail that was not read.
INTAKE_RETENTION_MS: Final = 7 * configs.DAY_MS
RECEIVED_RETENTION_MS: Final = 7 * configs.DAY_MS
# The longest time for which the deliver service may be down before Kafka deletes mail that was not
# read. This time must also be long enough for a backlog for one provider.
OUTBOUND_RETENTION_MS: Final = 14 * configs.DAY_MS
REFUSED_RETENTION_MS: Final = 14 * configs.DAY_MS
# Mail waits for at most one month, and the validate service may then be down for another month.
HELD_RETENTION_MS: Final = 62 * configs.DAY_MS
# The log of access keys must be kept as long as a bill can be recounted.
ACCESS_LOG_RETENTION_MS: Final = 400 * configs.DAY_MS
# The longest time for which the validate service may be down before Kafka deletes returned mail
# that was not read.
RETURNED_RETENTION_MS: Final = 14 * configs.DAY_MS

CLIENT_NAME_PATTERN: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_CLIENT_NAME: Final = re.compile(CLIENT_NAME_PATTERN)


class TopicPlan(Struct, frozen=True):
    """The plan of one topic: its name, number of partitions and Kafka configs."""

    name: str
    partitions: int
    configs: dict[str, str]


def is_client_name(name: str) -> bool:
    """Return True if `name` is a client name: 1-63 characters of a-z, 0-9 and inner hyphens (a DNS
    label)."""
    return _CLIENT_NAME.fullmatch(name) is not None


def intake(client: str) -> str:
    """Return the intake topic of a client."""
    return INTAKE_PREFIX + client


def client_of_intake(topic: str) -> str:
    """Return the client of an intake topic."""
    return topic.removeprefix(INTAKE_PREFIX)


def own_events(client: str) -> str:
    """Return the client topic. The events of a client with `own_events` are copied to this
    topic."""
    return CLIENT_EVENTS_PREFIX + client


def outbound(lane: str) -> str:
    """Return the outbound topic of a lane."""
    return OUTBOUND_PREFIX + lane


def deferred(delay: str) -> str:
    """Return the retry topic of a delay step. The step must be a key of RETRY_TOPICS_S."""
    return DEFERRED_PREFIX + delay


def intake_plan(client: str, partitions: int = 2) -> TopicPlan:
    """Return the plan of a client's intake topic."""
    return _plan(intake(client), partitions)


def client_events_plan(client: str, partitions: int = 2) -> TopicPlan:
    """Return the plan of a client topic."""
    return _plan(own_events(client), partitions)


def plans(lanes: tuple[str, ...], partitions: int = 4) -> tuple[TopicPlan, ...]:
    """Return the plans of all topics that the pipeline needs for these lanes.

    Topics of single clients are not included.
    """
    return (
        _plan(RECEIVED, partitions),
        *(_plan(outbound(lane), partitions) for lane in lanes),
        *(_plan(deferred(delay), 2) for delay in RETRY_TOPICS_S),
        # This topic has as many partitions as a lane, so that a process that reads a lane also
        # reads mail.handover.
        _plan(HANDOVER, partitions),
        _plan(EVENTS, partitions),
        _plan(SUBMISSIONS, partitions),
        _plan(REFUSED, 1),
        _plan(ACCESS_LOG, 1),
        # This topic has one partition, so that there is only one reader. The reader writes mail
        # back to this topic, and must know the offset at which the written mail begins.
        _plan(HELD, 1),
        _plan(RETURNED, partitions),
        *(_plan(name, 1) for name in _STATE),
    )


def configs_of(topic: str) -> configs.Configs | None:
    """Return the planned configs of a topic. Return None if the topic does not belong to the
    pipeline."""
    if topic in _STATE:
        return configs.state(INTAKE_MAX_RECORD_BYTES)
    if topic in _QUEUES:
        return configs.queue(*_QUEUES[topic])
    for prefix, kept in _QUEUES_OF_PREFIX.items():
        if topic.startswith(prefix) and is_client_name(topic.removeprefix(prefix)):
            return configs.queue(*kept)
    return None


def _plan(topic: str, partitions: int) -> TopicPlan:
    return TopicPlan(topic, partitions, configs_of(topic) or {})


_STATE: Final = (
    *(CLIENTS, SUPPRESSIONS, CONTROL, REPUTATION, FORWARDING),
    *(STATEMENTS, QUOTAS, ACCESS),
)
# (retention, highest size of a batch) by the name of a topic, and then by the prefix of a name.
_QUEUES: Final = {
    RECEIVED: (RECEIVED_RETENTION_MS, PACK_MAX_RECORD_BYTES),
    HANDOVER: (OUTBOUND_RETENTION_MS, PACK_MAX_RECORD_BYTES),
    EVENTS: (EVENTS_RETENTION_MS, MAX_RECORD_BYTES),
    SUBMISSIONS: (SUBMISSIONS_RETENTION_MS, MAX_RECORD_BYTES),
    REFUSED: (REFUSED_RETENTION_MS, INTAKE_MAX_RECORD_BYTES),
    ACCESS_LOG: (ACCESS_LOG_RETENTION_MS, MAX_RECORD_BYTES),
    RETURNED: (RETURNED_RETENTION_MS, INTAKE_MAX_RECORD_BYTES),
    HELD: (HELD_RETENTION_MS, PACK_MAX_RECORD_BYTES),
}
_QUEUES_OF_PREFIX: Final = {
    INTAKE_PREFIX: (INTAKE_RETENTION_MS, INTAKE_MAX_RECORD_BYTES),
    OUTBOUND_PREFIX: (OUTBOUND_RETENTION_MS, PACK_MAX_RECORD_BYTES),
    DEFERRED_PREFIX: (OUTBOUND_RETENTION_MS, PACK_MAX_RECORD_BYTES),
    CLIENT_EVENTS_PREFIX: (OWN_EVENTS_RETENTION_MS, MAX_RECORD_BYTES),
}
