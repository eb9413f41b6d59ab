"""What becomes of a message whose recipient is in the view of suppressed recipients."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec import Struct
from msgspec.structs import replace

from services.validate.core.batch import Judged
from services.validate.core.suppression import (
    fields_to_look_up,
    suppress,
    to_look_up,
)
from services.validate.core.verdict import Passed, Refused, Suppressed
from services.validate.edge.suppression_view import FRESH_S, Confirmed, SuppressionView
from shared.mail.address import ParsedAddress, parse_single
from shared.runtime.clock import FakeClock
from shared.stream.relay import NotReady
from shared.topics.records import Envelope, Facts, MailEvent, Message, Origin
from shared.topics.suppressions import (
    FIELD_BYTES,
    REASONS,
    SuppressionReason,
    bit_of,
    field_of,
)

NOW = 5


def judged(recipient: str) -> Judged:
    envelope = Envelope("m", "shop", "a@s.example", recipient, "", 0, Origin(), Facts())
    return Judged(Message(envelope, b"x"), Passed(envelope))


REFUSED = Judged(judged("r@example.com").message, Refused(MailEvent("shop")))


def bits_of(fields: bytes, view: Mapping[bytes, int]) -> bytes:
    return bytes(
        view.get(fields[start : start + FIELD_BYTES], 0)
        for start in range(0, len(fields), FIELD_BYTES)
    )


def after(messages: list[Judged], view: Mapping[bytes, int]) -> list[Judged]:
    indexes = to_look_up(messages)
    return suppress(messages, indexes, bits_of(fields_to_look_up(messages, indexes), view), NOW)


@pytest.mark.parametrize("reason", REASONS)
def test_a_suppressed_message_gives_its_reason_as_a_word_and_a_sentence(
    reason: SuppressionReason,
) -> None:
    verdict = after([judged("B@Example.com")], {field_of("shop", "b@example.com"): bit_of(reason)})[
        0
    ].verdict
    assert isinstance(verdict, Suppressed)
    assert [rule.rule for rule in verdict.event.rules] == [reason]
    assert "shop" in verdict.event.reason


@pytest.mark.parametrize("written", ["Anna@Bücher.example", '"anna"@bücher.example'])
def test_the_recipient_of_header_and_envelope_has_the_same_fields(written: str) -> None:
    by_envelope = judged(written)
    parsed = parse_single(written)
    assert isinstance(parsed, ParsedAddress)
    facts = Facts(to_address=parsed.address)
    envelope = replace(by_envelope.message.envelope, facts=facts)
    by_header = Judged(Message(envelope, b"x"), Passed(envelope))
    assert fields_to_look_up([by_header], [0]) == fields_to_look_up([by_envelope], [0])


def test_only_the_messages_of_suppressed_recipients_change() -> None:
    messages = [REFUSED, judged("a@example.com"), judged("b@example.com"), judged("c@example.com")]
    found = after(messages, {field_of("shop", "b@example.com"): 1})
    assert [isinstance(one.verdict, Suppressed) for one in found] == [False, False, True, False]
    assert [found[0], found[1], found[3]] == [messages[0], messages[1], messages[3]]


def test_entries_of_another_client_suppress_nothing() -> None:
    message = judged("b@example.com")
    assert after([message], {field_of("other", "b@example.com"): 1}) == [message]


class Kept:
    """A store that answers for one topic up to a watermark."""

    def __init__(self, watermark: int) -> None:
        self.watermark = watermark

    def find(self, log: str, least: int, fields: bytes) -> bytes | None:
        return bytes(len(fields) // FIELD_BYTES) if self.watermark >= least else None


class Following(Struct):
    store: Kept
    proof: Confirmed | None

    def confirmed(self) -> Confirmed | None:
        return self.proof

    def fault(self) -> str:
        return "away"


@pytest.mark.parametrize(
    ("proof_age_s", "watermark", "is_used"),
    [
        (0.0, 7, True),
        (FRESH_S, 9, True),
        (FRESH_S + 0.1, 9, False),
        (0.0, 6, False),
        (0.0, -1, False),
        (None, 9, False),
    ],
)
def test_only_a_complete_and_recent_view_is_used(
    proof_age_s: float | None, watermark: int, is_used: bool
) -> None:
    clock = FakeClock()
    clock.go_on(100.0)
    proof = None if proof_age_s is None else Confirmed("t", 7, clock.monotonic() - proof_age_s)
    view = SuppressionView(Following(Kept(watermark), proof), clock)  # type: ignore[arg-type]
    if is_used:
        assert view.find(bytes(2 * FIELD_BYTES)) == bytes(2)
    else:
        with pytest.raises(NotReady):
            view.find(bytes(2 * FIELD_BYTES))
