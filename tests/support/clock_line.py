"""A pipeline with two clients, one of which has a topic that we may not alter.

Its broker checks for expired records twice a second, and has an authorizer, so that altering the
configs of one intake can be denied to everybody.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    NewTopic,
    ResourcePattern,
    ResourceType,
)
from msgspec import Struct

from local.stack import Stack, StackOptions
from shared.registry.client import Client
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings
from shared.topics import names
from tests.support.chaos.witnesses import EventWatch
from tests.support.fork_server import fork

NOW_MS: Final = int(time.time() * 1000)
# The administrator of this client created its intake: it keeps the producer's timestamps, and we
# may not alter its configs. That of the other client, "clock", is as planned.
FOREIGN: Final = "foreign"
_BROKER: Final = {
    "log.retention.check.interval.ms": "500",
    "log.initial.task.delay.ms": "500",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}


class ClockLine(Struct, frozen=True):
    """The pipeline, a client of its broker, and the events of its mail."""

    stack: Stack
    admin: KafkaAdminClient
    watch: EventWatch


@contextmanager
def running_clock_line(folder: Path) -> Iterator[ClockLine]:
    options = StackOptions(
        name="clocks",
        start=fork,
        folder=folder,
        restart=False,
        is_lasting=False,
        kafka_properties=_BROKER,
    )
    with Stack(options) as stack:
        kafka = stack.endpoints.kafka
        with closing(KafkaAdminClient(bootstrap_servers=kafka)) as admin:
            _create_foreign(admin)
            made = [
                Client(name, f"news.{name}.example", f"back@{name}.example.org", "standard")
                for name in ("clock", FOREIGN)
            ]
            publish.apply(KafkaSettings(bootstrap=kafka), Changes(added=tuple(made)))
            with closing(EventWatch(kafka)) as watch:
                yield ClockLine(stack, admin, watch)


def _create_foreign(admin: KafkaAdminClient) -> None:
    kept = {"retention.ms": "-1", "message.timestamp.after.max.ms": str(2**62)}
    admin.create_topics([NewTopic(names.intake(FOREIGN), 1, 1, topic_configs=kept)])
    pattern = ResourcePattern(ResourceType.TOPIC, names.intake(FOREIGN))
    allow, deny = ACLPermissionType.ALLOW, ACLPermissionType.DENY
    rules = [
        ACL("User:*", "*", ACLOperation.ALL, allow, pattern),
        ACL("User:*", "*", ACLOperation.ALTER_CONFIGS, deny, pattern),
    ]
    assert not admin.create_acls(rules)["failed"]
