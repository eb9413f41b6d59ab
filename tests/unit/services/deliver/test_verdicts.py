"""The meaning of a server's replies after TLS has failed, and of our own faults."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.deliver.core.attempt.outcome import Bounced, Deferred, Delivered
from services.deliver.core.attempt.results import ConnectionInfo
from services.deliver.core.attempt.verdicts import after_fault, answered, unanswered
from shared.smtp.events import Stage
from shared.smtp.reply import make_reply

FAULT = "454 4.7.0 TLS not available"


@pytest.mark.parametrize(
    ("stage", "code", "text"),
    [
        (Stage.MAIL, 530, "5.7.0 Must issue a STARTTLS command first"),
        (Stage.MAIL, 550, "5.7.10 Encryption needed"),
        (Stage.RCPT, 550, "5.7.10 must issue STARTTLS"),
        (Stage.RCPT, 554, "this server requires TLS"),
        (Stage.DATA, 530, "no"),
    ],
)
def test_a_server_that_wants_tls_after_tls_failed_defers(
    stage: Stage, code: int, text: str
) -> None:
    reply = make_reply(code, text)
    outcome = answered((), stage, reply, True, ConnectionInfo("mx", tls_fault=FAULT))
    assert isinstance(outcome, Deferred)
    assert FAULT in outcome.reason
    assert outcome.reply == str(reply)
    assert isinstance(answered((), stage, reply, True, ConnectionInfo("mx")), Bounced)


def test_a_refusal_that_has_nothing_to_do_with_tls_is_final_though_tls_failed() -> None:
    reply = make_reply(550, "5.1.1 no such user")
    outcome = answered((), Stage.RCPT, reply, True, ConnectionInfo("mx", tls_fault=FAULT))
    assert isinstance(outcome, Bounced)


def test_a_reason_is_cleaned_wherever_it_comes_from() -> None:
    outcome = unanswered("lost: \udce8\x1b", False, False, ConnectionInfo())
    assert outcome.reason == "lost: \ufffd "


def test_a_fault_of_our_own_defers_and_bills_nothing() -> None:
    outcome = after_fault(KeyError("x"), None)
    assert isinstance(outcome, Deferred)
    assert (outcome.dispatched, outcome.in_doubt) == (False, False)
    assert "KeyError" in outcome.reason


def test_what_was_known_before_a_fault_of_our_own_stays_without_the_servers_text() -> None:
    delivered = Delivered("250 ok", "2.0.0", "mx", "s", "")
    assert after_fault(KeyError("x"), delivered) == replace(delivered, reply="")
    bounced = answered((), Stage.RCPT, make_reply(550, "5.1.1 no"), True, ConnectionInfo("mx"))
    after = after_fault(KeyError("x"), bounced)
    assert isinstance(after, Bounced)
    assert (after.reply, after.enhanced, after.dispatched) == ("", "5.1.1", True)
