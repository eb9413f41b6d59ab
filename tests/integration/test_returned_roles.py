"""Reading returned mail in validate, apart as `validate responses`, and both: nothing counts twice.

The upgrade from one form to the other and back, of a whole pipeline, while mail comes back.
"""

from __future__ import annotations

from collections import Counter

import pytest
from msgspec.structs import replace

from cli.stack.paths import RESPONSES
from local.stack import Stack
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.responses.counting.counting import decode_counter
from shared.settings.sections import KafkaSettings, RedisSettings
from shared.store.client import connect
from shared.store.counters import CounterStore
from shared.topics.records import EventType
from shared.topics.suppressions import field_of
from tests.support.keeping_server import ReturnedLine
from tests.support.patience import PATIENCE_S
from tests.support.returned_mail import ANNA, SHOP, delivery_report, to_return_path
from tests.support.returns_bench import ReturnsBench
from tests.support.smtp_peers import wait_until

pytestmark = [pytest.mark.xdist_group("returned-round"), pytest.mark.long]

EACH = 5
MOST_LIMIT = 100
JOINED: dict[str, str] = {}
APART = {"SLUICE_VALIDATE__COUNTS_BOUNCES": "false"}


def events_of_returned(kafka: str) -> Counter[str]:
    """The number of events of each returned message."""
    found = ReturnsBench(kafka, "").events()
    return Counter(each.id for each in found if each.type is EventType.RETURNED)


def counted(stack: Stack) -> int:
    """The number of messages that the counters have."""
    store = CounterStore(
        connect(RedisSettings(url=stack.endpoints.redis), decode_responses=False),
        RedisSettings().counters_key,
    )
    (value,) = store.read([field_of(SHOP.name, ANNA)])[1]
    return len(decode_counter(value).hard)


def test_an_upgrade_from_the_joined_form_to_the_apart_one_and_back_loses_and_doubles_nothing(
    returned_line: ReturnedLine,
) -> None:
    stack = returned_line.stack
    kafka = stack.endpoints.kafka
    client = replace(SHOP, hard_limit=MOST_LIMIT)
    publish.apply(KafkaSettings(bootstrap=kafka), Changes(added=(client,)))
    published = 0

    def publish_some() -> None:
        nonlocal published
        first, published = published + 1, published + EACH
        mail = [(to_return_path(n), delivery_report(ANNA)) for n in range(first, published + 1)]
        for partition, each in enumerate(mail):
            ReturnsBench(kafka, "").publish([each], partition=partition % 4)

    def restart_validate(env: dict[str, str]) -> None:
        assert stack.stop_part("validate")
        publish_some()
        stack.start_part("validate", env)
        stack.wait_ready("validate")

    publish_some()
    stack.start_part(RESPONSES)
    publish_some()
    stack.wait_ready(RESPONSES)
    publish_some()
    restart_validate(APART)
    publish_some()
    restart_validate(JOINED)
    publish_some()
    assert stack.stop_part(RESPONSES)
    publish_some()
    wait_until(lambda: len(events_of_returned(kafka)) >= published, "all are read", PATIENCE_S)
    wait_until(lambda: counted(stack) >= published, "all are counted", PATIENCE_S)
    assert set(events_of_returned(kafka).values()) == {1}
    assert (len(events_of_returned(kafka)), counted(stack)) == (published, published)
