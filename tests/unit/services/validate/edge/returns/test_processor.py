"""What a batch of returned mail leads to, whatever is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import json
from msgspec.structs import replace

from cli.stack import paths
from services.validate.core.lanes import Lanes
from services.validate.core.returns.identity import Verification
from services.validate.core.returns.windows import Policy
from services.validate.edge.returns.metrics import register_metrics
from services.validate.edge.returns.processor import ReturnsProcessor, Tools
from shared.mail.verp import Keys, parse_keys
from shared.registry.client import Client, Returns
from shared.runtime.clock import FakeClock
from shared.runtime.telemetry import Counters
from shared.stream.transactions import Output
from shared.topics import names
from shared.topics.codec import decode_pack, encode_returned
from shared.topics.records import Message, ReturnAddressKind, Returned
from tests.support.response_rules import RULES
from tests.support.returned_mail import (
    ANNA,
    AT_MS,
    KEYS,
    SHOP,
    delivery_report,
    feedback_report,
    letter,
    mail_id_of,
    return_path,
    to_address,
    to_return_path,
)
from tests.support.returns_bench import Registry

GOLDEN = sorted((paths.ROOT / "tests" / "golden" / "returned").glob("*.eml"))
CLIENT = replace(SHOP, returns=tuple(Returns))


def processor(
    client: Client = CLIENT,
    keys: Keys = KEYS,
    most: int = 1_000,
    rules: Any = RULES,
    others: Sequence[Client] = (),
) -> ReturnsProcessor:
    tools = Tools(
        rules=rules,
        lanes=Lanes({}),
        policy=Policy(most, 3_600_000),
        verification=lambda: Verification(keys, 60),
        partitions_of=lambda topic: 4,
    )
    metrics = register_metrics(Counters("test", "test"))
    return ReturnsProcessor(Registry(client, *others), tools, FakeClock(AT_MS), metrics)


def record(returned: Returned, content: bytes, offset: int = 0) -> Any:
    _, headers = encode_returned(returned)
    return SimpleNamespace(
        topic=names.RETURNED, partition=0, offset=offset, value=content, headers=headers
    )


def is_event(written: Output) -> bool:
    return written.topic == names.EVENTS


def path_of(client: Client) -> str:
    return f"{return_path(mail_id_of(3), ANNA, client)}@{client.sending_domain}"


def forwarded(written: list[Output]) -> list[Message]:
    packs = (decode_pack(each.value, each.headers) for each in written if "outbound" in each.topic)
    return [message for pack in packs for message in pack]


def test_whatever_comes_back_is_one_event_and_one_mail() -> None:
    random = Random(7)
    made = processor()
    for number, path in enumerate(GOLDEN):
        content = bytearray(path.read_bytes())
        for _ in range(20):
            content[random.randrange(len(content))] = random.randrange(256)
        answer = made.process([record(to_return_path(number + 1), bytes(content))], {})
        topics = Counter(each.topic.partition(".outbound")[0] for each in answer.outputs)
        assert topics == {names.EVENTS: 1, "mail": 1, names.FORWARDING: 1}, path.name


@pytest.mark.parametrize(("sender", "response"), [("", "hard"), ("billing@pay.example", "soft")])
def test_a_doubtful_report_is_hard_only_if_its_sender_is_null(sender: str, response: str) -> None:
    subject = "Undeliverable: Spring"
    words = f"Your message to {ANNA} failed: 550 5.1.1 the account does not exist"
    content = letter("billing@pay.example", subject, words)
    made = processor().process([record(replace(to_return_path(1), sender=sender), content)], {})
    (event,) = filter(is_event, made.outputs)
    assert f'"response":"{response}"'.encode() in (event.value or b"")


BANK = replace(
    SHOP, name="bank", sending_domain="news.bank.example", forwarding_address="b@b.example"
)
PATH, OWN_PATH = path_of(BANK), path_of(CLIENT)


@pytest.mark.parametrize(
    ("report", "owner", "recipient"),
    [
        (feedback_report(ANNA, PATH), BANK, ANNA),
        (feedback_report(ANNA, PATH.upper()), BANK, ANNA),
        (feedback_report("x@y.example", PATH), BANK, ""),
        (feedback_report(ANNA, f"{PATH}, {OWN_PATH}"), CLIENT, ANNA),  # it is about its own, too
        (feedback_report(ANNA, PATH.replace("bank", "other")), CLIENT, ""),
        (feedback_report(ANNA, PATH.replace("rp=", "rp=0")), CLIENT, ""),
        (delivery_report(ANNA).replace(b"Hello.", PATH.encode()), CLIENT, ""),  # no complaint
    ],
)
def test_a_complaint_is_that_of_the_client_whose_message_it_proves(
    report: bytes, owner: Client, recipient: str
) -> None:
    """A feedback loop of a whole installation sends all of its reports to one address."""
    made = processor(CLIENT, others=(BANK,))
    found = made.process([record(to_address(ReturnAddressKind.ABUSE, "abuse"), report)], {})
    (event,) = (json.decode(each.value or b"") for each in filter(is_event, found.outputs))
    assert (event["client"], event.get("recipient", "")) == (owner.name, recipient)
    assert [each.envelope.recipient for each in forwarded(found.outputs)] == [
        owner.forwarding_address
    ]


def test_a_message_that_cannot_be_understood_stops_no_other() -> None:
    broken = processor(rules=None)
    sound = record(unsent(), b"Subject: x\r\n\r\n")
    mail = [record(to_return_path(1), delivery_report(ANNA)), sound]
    written = broken.process(mail, {}).outputs
    assert [each.topic for each in written if each.topic == names.REFUSED] == [names.REFUSED]
    assert [each.envelope.recipient for each in forwarded(written)] == [SHOP.forwarding_address]


def unsent() -> Returned:
    return replace(
        to_return_path(2),
        address_kind=ReturnAddressKind.SUPPRESSED,
        recipient=ANNA,
        recipient_hash=b"",
        reason="blocked",
    )


@pytest.mark.parametrize("returns", [(), (Returns.BOUNCES,), tuple(Returns)])
def test_a_message_that_never_went_out_has_no_further_event(returns: tuple[Returns, ...]) -> None:
    made = processor(replace(SHOP, returns=returns))
    written = made.process([record(unsent(), b"Subject: x\r\n\r\n")], {}).outputs
    assert names.EVENTS not in {each.topic for each in written}
    assert len(forwarded(written)) == (Returns.SUPPRESSED in returns)


def test_a_loop_between_two_installations_ends_after_one_hop() -> None:
    """Each forwards to an address at the other's sending domain."""
    other_keys = parse_keys("9 2026-01-01 " + "ab" * 32)
    ours, theirs = processor(), processor(keys=other_keys)
    answer = to_address(ReturnAddressKind.FROM, "news", ANNA)
    hops = 0
    mail = letter(ANNA, "Re: Spring", headers="In-Reply-To: <a@b>\n")
    for one in (ours, theirs, ours, theirs):
        found = forwarded(one.process([record(answer, mail)], {}).outputs)
        if not found:
            break
        hops += 1
        mail, answer = found[0].content, replace(answer, sender="")
    assert hops == 1


@pytest.mark.parametrize("quotes", ["In-Reply-To", "References"])
def test_an_automatic_answer_to_forwarded_mail_is_not_forwarded(quotes: str) -> None:
    made = processor()
    first = forwarded(made.process([record(to_return_path(1), delivery_report(ANNA))], {}).outputs)
    message_id = first[0].content.partition(b"Message-ID: ")[2].partition(b"\r\n")[0].decode()
    answer = letter("desk@elsewhere.example", "Away", headers=f"{quotes}: {message_id}\n")
    written = made.process([record(to_address(ReturnAddressKind.POSTMASTER, "x"), answer)], {})
    assert forwarded(written.outputs) == []
    assert [each.topic for each in written.outputs] == [names.EVENTS]


def test_a_client_that_is_gone_gets_nothing_and_its_digest_is_dropped() -> None:
    made = processor(most=0)
    windows = made.process([record(to_return_path(1), delivery_report(ANNA))], {}).windows
    left = [replace(each, client="gone", begun_ms=0) for each in windows.values()]
    gone = {each.key: each for each in left}
    answer = made.due(gone, {0})
    assert answer is not None
    assert forwarded(answer.outputs) == []
    assert made.due(gone, {1}) is None
