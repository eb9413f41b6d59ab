"""What the bounce door answers on one connection, and what it writes before its 250."""

from __future__ import annotations

import pytest

from services.ingest.core.bounce_door.held_bytes import STEP_BYTES
from services.ingest.edge.bounce_door.context import MessageLimits
from services.ingest.edge.writing.outbox import Written
from tests.support.bounce_door import CLIENT, DOMAIN, MAIL_ID
from tests.support.bounce_session import RETURN_PATH, UNKNOWN, BounceDialog, BounceDoor

FORGED = f"rp={'0' * 61}@{DOMAIN}"
ENVELOPE = ("MAIL FROM:<>", f"RCPT TO:<{RETURN_PATH}>", "DATA")
CONTENT = ("Subject: x", "", "x", ".")


@pytest.fixture
def door() -> BounceDoor:
    return BounceDoor()


@pytest.fixture
def dialog(door: BounceDoor) -> BounceDialog:
    return BounceDialog(door)


def test_the_250_waits_for_the_record(door: BounceDoor, dialog: BounceDialog) -> None:
    assert dialog.codes(*ENVELOPE) == [250, 250, 354]
    assert dialog.codes(*CONTENT, "NOOP") == []
    assert dialog.policy.is_storing
    (mail,) = door.outbox.mail
    assert mail.content == b"Subject: x\r\n\r\nx\r\n"
    assert (mail.returned.client, mail.returned.mail_id) == (CLIENT.name, MAIL_ID)
    door.outbox.settle()
    assert dialog.new_codes() == [250, 250]
    assert not dialog.policy.is_storing
    assert door.held.total_bytes == 0
    assert door.metrics.accepted.get(CLIENT.name, "return_path") == 1


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ((Written(), Written()), 250),
        ((UNKNOWN, Written()), 451),
        ((Written(), UNKNOWN), 451),
        ((UNKNOWN, UNKNOWN), 451),
    ],
)
def test_the_reply_for_two_recipients_is_250_only_if_both_have_their_record(
    door: BounceDoor, dialog: BounceDialog, outcomes: tuple[Written, ...], code: int
) -> None:
    dialog.codes("MAIL FROM:<>", f"RCPT TO:<{RETURN_PATH}>", f"RCPT TO:<news@{DOMAIN}>", "DATA")
    dialog.codes(*CONTENT)
    door.outbox.settle(outcomes[0])
    assert dialog.new_codes() == []
    door.outbox.settle(outcomes[1])
    assert dialog.new_codes() == [code]
    assert len({mail.returned.return_id for mail in door.outbox.mail}) == 2
    assert door.held.total_bytes == 0


def test_a_recipient_given_twice_in_any_case_has_one_record(
    door: BounceDoor, dialog: BounceDialog
) -> None:
    given = (RETURN_PATH, RETURN_PATH.upper(), f"news@{DOMAIN}", f"news@{DOMAIN.upper()}")
    dialog.codes("MAIL FROM:<>", *(f"RCPT TO:<{each}>" for each in given), "DATA", *CONTENT)
    found = [mail.returned.recipient for mail in door.outbox.mail]
    assert found == [RETURN_PATH, f"news@{DOMAIN}"]


@pytest.mark.parametrize("between", ["RSET", "EHLO again.example"])
def test_a_recipient_of_an_abandoned_transaction_gets_nothing(
    door: BounceDoor, dialog: BounceDialog, between: str
) -> None:
    dialog.codes("MAIL FROM:<>", f"RCPT TO:<{RETURN_PATH}>", between)
    dialog.codes("MAIL FROM:<>", f"RCPT TO:<news@{DOMAIN}>", "DATA", *CONTENT)
    assert [mail.returned.recipient for mail in door.outbox.mail] == [f"news@{DOMAIN}"]


def test_a_refused_recipient_leaves_the_others_and_is_counted(
    door: BounceDoor, dialog: BounceDialog
) -> None:
    rcpts = (f"RCPT TO:<{FORGED}>", f"RCPT TO:<{RETURN_PATH}>", "RCPT TO:<max@r.example>")
    assert dialog.codes("MAIL FROM:<>", *rcpts) == [250, 550, 250, 550]
    assert door.metrics.refused.values == {("forged",): 1, ("relaying",): 1}
    assert dialog.session.refused == 2


def test_a_session_of_forged_recipients_ends(door: BounceDoor, dialog: BounceDialog) -> None:
    codes = dialog.codes("MAIL FROM:<>", *[f"RCPT TO:<{FORGED}>"] * 30)
    assert codes == [250, *[550] * 20, 421]
    assert dialog.has_ended
    assert door.outbox.mail == []


def test_messages_of_one_address_are_limited_and_those_of_another_are_not() -> None:
    door = BounceDoor(MessageLimits(per_address=2, per_client=0))
    dialog = BounceDialog(door)
    assert dialog.codes("MAIL FROM:<>", "RSET", "MAIL FROM:<>", "RSET") == [250] * 4
    assert dialog.codes("MAIL FROM:<>") == [450]
    assert BounceDialog(door, "192.0.2.2").codes("MAIL FROM:<>") == [250]
    door.clock.go_on(60)
    assert dialog.codes("MAIL FROM:<>") == [250]


def test_recipients_of_one_client_are_limited_and_forged_ones_do_not_count() -> None:
    door = BounceDoor(MessageLimits(per_address=0, per_client=2))
    dialog = BounceDialog(door)
    asked = (FORGED, RETURN_PATH, FORGED, f"news@{DOMAIN}", RETURN_PATH)
    codes = dialog.codes("MAIL FROM:<>", *(f"RCPT TO:<{each}>" for each in asked))
    assert codes == [250, 550, 250, 550, 250, 450]
    assert dialog.session.refused == 2, "a temporary refusal is no error of the peer"


def test_bytes_are_held_as_they_arrive_and_released_with_the_connection(
    door: BounceDoor, dialog: BounceDialog
) -> None:
    dialog.codes(*ENVELOPE)
    assert door.held.total_bytes == STEP_BYTES
    for size, held in [(10, 1), (STEP_BYTES + 1, 2), (3 * STEP_BYTES, 3), (10, 3)]:
        assert dialog.policy.judge_growth(size) is None
        assert door.held.total_bytes == held * STEP_BYTES
    # More is never kept: the rest of a message that is too large is dropped.
    assert dialog.policy.judge_growth(10**9) is None
    assert door.held.total_bytes == 200_000
    dialog.policy.connection_lost()
    assert door.held.total_bytes == 0


def test_a_message_that_grows_beyond_the_share_of_its_address_ends_the_connection() -> None:
    door = BounceDoor(held_bytes=8 * STEP_BYTES)
    first, second = BounceDialog(door), BounceDialog(door)
    assert first.codes(*ENVELOPE) == second.codes(*ENVELOPE) == [250, 250, 354]
    assert BounceDialog(door).codes(*ENVELOPE) == [250, 250, 451]
    reply = first.policy.judge_growth(STEP_BYTES + 1)
    assert reply is not None
    assert reply.code == 421
    assert BounceDialog(door, "192.0.2.2").codes(*ENVELOPE) == [250, 250, 354]
    first.policy.connection_lost()
    assert second.policy.judge_growth(STEP_BYTES + 1) is None


def test_a_stored_message_keeps_its_bytes_until_its_outcome_though_the_peer_has_left(
    door: BounceDoor, dialog: BounceDialog
) -> None:
    dialog.codes(*ENVELOPE, *CONTENT)
    dialog.policy.connection_lost()
    assert door.held.total_bytes == len("Subject: x\r\n\r\nx\r\n")
    door.outbox.settle()
    assert door.held.total_bytes == 0


def test_a_message_that_is_too_large_is_refused_without_a_record(
    door: BounceDoor, dialog: BounceDialog
) -> None:
    dialog.codes(*ENVELOPE)
    dialog.send(b"y" * 200_001 + b"\r\n.\r\n")
    assert dialog.new_codes() == [552]
    assert (door.outbox.mail, door.held.total_bytes) == ([], 0)
    assert dialog.codes(*ENVELOPE) == [250, 250, 354]


def test_bare_line_ends_and_nul_are_data_and_end_no_message(
    door: BounceDoor, dialog: BounceDialog
) -> None:
    dialog.codes(*ENVELOPE)
    smuggled = b"a\n.\nb\n.\r\nMAIL FROM:<>\r\nc\r.\rd\0\xff\r\n"
    dialog.send(smuggled + b".\r\n")
    assert [mail.content for mail in door.outbox.mail] == [smuggled]


@pytest.mark.parametrize(
    ("line", "code"),
    [("AUTH PLAIN AGEAYg==", 502), ("MAIL FROM:<a@b.example> AUTH=<>", 555), ("BDAT 4 LAST", 502)],
)
def test_what_belongs_to_a_submission_server_is_not_offered(
    dialog: BounceDialog, line: str, code: int
) -> None:
    assert dialog.codes(line) == [code]
