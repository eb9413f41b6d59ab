"""A final event names what was in force; other events do not."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from services.deliver.core.attempt.plan import Timing, plan, with_versions
from services.deliver.core.attempt.results import Deferred
from services.deliver.core.shaping.parsing import combine, parse_file
from shared.registry.client import Client
from shared.submission.attribution import attribute, refused_event
from shared.submission.rules import RULES_VERSION
from shared.topics.records import Versions
from tests.support.ordered_attempts import idle, make_job, make_place

CLIENT = Client("shop", "news.shop.example", "back@shop.example.org", "standard")


def test_the_event_of_a_delivery_names_rules_registry_and_shaping() -> None:
    async def go() -> Versions | None:
        place = make_place()
        job = make_job(rules_version="r", registry_version="c")
        place.attempts.hand_out([job])
        await idle()
        place.sender.connect()
        await idle()
        (event,) = place.settled.events()
        return event.data.versions

    assert asyncio.run(go()) == Versions("r", "c", "shaped")


def test_an_attempt_that_goes_on_has_no_versions_and_old_mail_has_none() -> None:
    deferred = Deferred("451 later", "4.0.0", "soft", "later", "mx", "", "", dispatched=True)
    judged = make_job(rules_version="r", registry_version="c").message.envelope
    (event,) = with_versions(judged, plan(judged, deferred, Timing(0)), "s").events
    assert event.data.versions is None
    old = replace(judged, rules_version="", expires_at_ms=1)
    (event,) = with_versions(old, plan(old, deferred, Timing(0)), "s").events
    assert (event.kind.value, event.data.versions) == ("expired", None)


def test_a_refusal_names_the_rules_and_the_entry_by_which_it_was_judged() -> None:
    envelope = attribute(make_job().message.envelope, CLIENT)
    assert refused_event(envelope, (), 0).versions == Versions(RULES_VERSION, CLIENT.version)


def test_a_version_changes_with_the_contents_and_only_with_them() -> None:
    changed = replace(CLIENT, hard_limit=4)
    assert CLIENT.version == replace(CLIENT).version != changed.version
    texts = ("", "[default]\nconnections = 5\n", "[default]\nconnections = 6\n")
    versions = {combine([parse_file(text, "a.toml")]).version for text in texts}
    assert len(versions) == len(texts)
