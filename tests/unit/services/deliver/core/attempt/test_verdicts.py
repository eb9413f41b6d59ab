"""The meaning of each way in which an attempt can end, TLS faults and our own among them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.deliver.core.attempt.results import (
    Bounced,
    Broken,
    Busy,
    ConnectFault,
    ConnectionInfo,
    Deferred,
    Delivered,
    NoConnection,
    Refusal,
    TransactionResult,
)
from services.deliver.core.attempt.verdicts import (
    OutcomeRules,
    after_fault,
    answered,
    is_answer,
    unanswered,
)
from shared.smtp.events import Finished, Stage
from shared.smtp.extensions import Unsendable
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


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA])
@pytest.mark.parametrize("code", [530, 535, 538])
def test_a_smart_host_that_wants_another_login_defers_and_any_other_server_bounces(
    stage: Stage, code: int
) -> None:
    reply = make_reply(code, "5.7.0 Authentication required")
    outcome = answered((), stage, reply, True, ConnectionInfo("relay:25", has_login=True))
    assert isinstance(outcome, Deferred)
    assert (outcome.bounce_class, outcome.reply) == ("authentication", str(reply))
    assert isinstance(answered((), stage, reply, True, ConnectionInfo("mx")), Bounced)


def test_a_reason_is_cleaned_wherever_it_comes_from() -> None:
    outcome = unanswered("lost: \udce8\x1b", False, False, ConnectionInfo())
    assert outcome.reason == "lost: \ufffd "


def test_a_fault_of_our_own_defers_and_bills_nothing() -> None:
    outcome = after_fault(KeyError("x"), None)
    assert isinstance(outcome, Deferred)
    assert (outcome.dispatched, outcome.in_doubt) == (False, False)
    assert "KeyError" in outcome.reason


def test_what_was_known_before_a_fault_of_our_own_stays_without_the_servers_text() -> None:
    delivered = Delivered("250 ok", "2.0.0", "mx", "s", "", FAULT)
    without = replace(delivered, reply="", tls_fault="")
    assert after_fault(KeyError("x"), delivered) == without
    bounced = answered((), Stage.RCPT, make_reply(550, "5.1.1 no"), True, ConnectionInfo("mx"))
    after = after_fault(KeyError("x"), bounced)
    assert isinstance(after, Bounced)
    assert (after.reply, after.enhanced, after.dispatched) == ("", "5.1.1", True)


# RFC 3463, 3.4 and 3.7; all others concern characters that the server does not take.
STATUS = {
    Unsendable.TOO_LARGE: "5.3.4",
    Unsendable.EIGHT_BIT: "5.6.3",
    Unsendable.SIGNED_PARTS: "5.6.3",
    Unsendable.NOT_CONVERTIBLE: "5.6.3",
}
# How a transaction ended; the kind of outcome; dispatched, which is billed; in doubt.
TRANSACTIONS = [
    (Finished(Stage.CONTENT, make_reply(250, "2.0.0 queued")), Delivered, True, False),
    (Finished(Stage.MAIL, make_reply(550, "5.7.1 no")), Bounced, True, False),
    (Finished(Stage.RCPT, make_reply(450, "4.2.1 later")), Deferred, True, False),
    (Broken("reset", answered=False, in_doubt=False), Deferred, False, False),
    (Broken("reset", answered=False, in_doubt=True), Deferred, False, True),
    (Unsendable.SMTPUTF8, Bounced, False, False),
]


@pytest.mark.parametrize(("result", "kind", "dispatched", "in_doubt"), TRANSACTIONS)
def test_each_end_of_a_transaction_has_its_outcome(
    result: TransactionResult, kind: type, dispatched: bool, in_doubt: bool
) -> None:
    outcome = OutcomeRules(()).transaction(result, False, ConnectionInfo("mx"))
    assert isinstance(outcome, kind)
    if isinstance(outcome, Deferred | Bounced):
        assert (outcome.dispatched, outcome.site) == (dispatched, "mx")
    if isinstance(outcome, Deferred):
        assert outcome.in_doubt is in_doubt


@pytest.mark.parametrize("reason", Unsendable)
def test_what_cannot_be_offered_bounces_with_a_status_and_is_not_billed(
    reason: Unsendable,
) -> None:
    outcome = OutcomeRules(()).transaction(reason, False, ConnectionInfo("mx"))
    assert isinstance(outcome, Bounced)
    assert (outcome.reason, outcome.dispatched) == (reason.value, False)
    assert outcome.enhanced == STATUS.get(reason, "5.6.7")


@pytest.mark.parametrize("result", [case[0] for case in TRANSACTIONS])
def test_every_outcome_says_which_tls_was_used_or_why_none(result: TransactionResult) -> None:
    for tls, fault in (("TLSv1.3", ""), ("", ""), ("", FAULT)):
        where = ConnectionInfo("mx", tls=tls, tls_fault=fault)
        outcome = OutcomeRules(()).transaction(result, False, where)
        assert (outcome.tls, outcome.tls_fault) == (tls, fault)


def test_a_connection_that_breaks_after_an_earlier_answer_has_been_dispatched() -> None:
    broken = Broken("reset", answered=False, in_doubt=False)
    outcome = OutcomeRules(()).transaction(broken, True, ConnectionInfo("mx"))
    assert isinstance(outcome, Deferred)
    assert outcome.dispatched


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Refusal(Stage.CONNECT, make_reply(554, "5.7.1 go away")), "554 5.7.1 go away"),
        (Refusal(Stage.EHLO, make_reply(421, "4.3.2 later")), "421 4.3.2 later"),
        (NoConnection("refused"), "No connection: refused"),
        (Busy(7.0), "The site accepts mail more slowly than new mail arrives"),
    ],
)
def test_no_failure_to_connect_bounces_the_message_or_is_billed(
    fault: ConnectFault, reason: str
) -> None:
    outcome = OutcomeRules(()).no_connection(fault, False, "mx")
    assert isinstance(outcome, Deferred)
    assert reason in outcome.reason
    assert (outcome.dispatched, outcome.site) == (False, "mx")


@pytest.mark.parametrize(("was_answered", "waits_s"), [(False, 7.0), (True, None)])
def test_a_message_that_was_not_offered_was_not_attempted_unless_it_was_answered_before(
    was_answered: bool, waits_s: float | None
) -> None:
    outcome = OutcomeRules(()).no_connection(Busy(7.0), was_answered, "mx")
    assert isinstance(outcome, Deferred)
    assert (outcome.waits_s, outcome.enhanced) == (waits_s, "4.4.5")
    turn = OutcomeRules(()).no_connection(Busy(7.0, "a limit", is_turn=True), was_answered, "mx")
    assert isinstance(turn, Deferred)
    assert (outcome.is_turn, turn.is_turn) == (False, not was_answered)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Finished(Stage.MAIL, make_reply(450, "later")), True),
        (Finished(Stage.RSET, make_reply(421, "closing")), False),
        (Broken("reset", answered=True, in_doubt=False), True),
        (Broken("reset", answered=False, in_doubt=False), False),
        (Unsendable.SENDER, False),
    ],
)
def test_only_an_answer_to_mail_or_rcpt_is_an_answer(
    result: TransactionResult, expected: bool
) -> None:
    assert is_answer(result) is expected
