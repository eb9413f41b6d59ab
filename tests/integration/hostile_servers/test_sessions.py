"""Hostile servers after the first message: limits of a connection, lost sequences, floods; BDAT."""

from __future__ import annotations

import pytest

from services.deliver.core.attempt.results import Bounced, Deferred, Delivered
from tests.support.hostile.cases import (
    ACCEPTED,
    COMMAND_SHORT,
    DATA_SHORT,
    GROUP,
    HELLO,
    IN_DOUBT,
    TAKEN,
    UNSENT,
    Case,
    Ends,
    Met,
    check,
    one,
)
from tests.support.hostile.server import GREETING, Pause, Step

# The dialogs run at once, in one process.
pytestmark = pytest.mark.xdist_group("hostile-sessions")

OK = b"250 ok\r\n"
USED = (*HELLO, *GROUP, ACCEPTED, Step.CONTENT, b"250 taken\r\n")
NO = b"503 5.5.1 need MAIL\r\n" * 2
UNKNOWN = Ends(Bounced, "550 5.1.1 ")
REFUSED = (
    *(GREETING, "EHLO", b"250 mx\r\n", "MAIL", OK),
    *("RCPT", b"550 5.1.1 no such user\r\n", "RSET"),
)
CHUNK = (GREETING, "EHLO", b"250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n", "MAIL", "RCPT", OK * 2)
# It offers PIPELINING, and forgets what follows a command in the same segment.
SWALLOWING = (
    *(*HELLO, "MAIL", Step.SWALLOW, OK, "RCPT", Step.SWALLOW, OK, "DATA", Step.SWALLOW),
    *(b"354 go\r\n", Step.CONTENT, b"250 2.0.0 one by one\r\n"),
)
HALF_ANSWERED = "a server that offers PIPELINING and reads one command"


def reused(*dialog: object, **options: object) -> Case:
    """What the server does over a connection that has carried a message."""
    return one(*USED, *dialog, ends=TAKEN, **options)


def chunk(*dialog: object, ends: Ends, **options: object) -> Case:
    return one(*CHUNK, "BDAT", *dialog, ends=ends, uses_chunking=True, **options)


CASES: dict[str, Case] = {
    # -- what one connection may carry
    "421 to MAIL": reused(*GROUP, b"421 4.7.0 too many messages in this connection\r\n"),
    "452 to MAIL": reused(*GROUP, b"452 4.5.3 too many messages in this session\r\n" + NO, "QUIT"),
    "550 to MAIL": reused(*GROUP, b"550 5.7.1 max mails per connection reached\r\n" + NO, "QUIT"),
    "550 to RCPT": reused(
        *GROUP, OK + b"550 5.5.3 too many recipients this session\r\n554 none\r\n", "QUIT"
    ),
    "a sequence that is lost": reused(*GROUP, b"503 5.5.1 nested MAIL\r\n" + NO, "QUIT"),
    "a sequence that is lost, and no reply to QUIT": reused(
        *GROUP, b"503 5.5.1 nested MAIL\r\n" + NO, Step.HANG
    ),
    # -- between two messages
    "421 while idle": reused(Pause(0.05), b"421 4.4.2 idle\r\n", Step.HANG),
    "421 of two lines while idle": reused(
        Pause(0.05), b"421-4.4.2 idle\r\n", Pause(0.05), b"421 bye\r\n", Step.HANG
    ),
    "replies without an end while idle": reused(Pause(0.05), b"250 noop\r\n" * 5_000, Step.HANG),
    "RSET is refused": one(*REFUSED, b"502 5.5.1 no\r\n", Step.HANG, ends=UNKNOWN),
    "421 to RSET": one(*REFUSED, b"421 4.3.2 bye\r\n", ends=UNKNOWN),
    "the end instead of a reply to RSET": one(*REFUSED, ends=UNKNOWN),
    "RSET is not answered": one(*REFUSED, Step.HANG, ends=UNKNOWN, time_limits=COMMAND_SHORT),
    "421 after the EHLO reply": one(
        *HELLO, Pause(0.1), b"421 4.4.2 bye\r\n", ends=Ends(Deferred, "421 4.4.2 bye")
    ),
    # -- within a transaction
    "replies without an end": one(*HELLO, *GROUP, OK * 5_000, Step.HANG, ends=Ends(Deferred)),
    "421 with 354": one(
        *HELLO, *GROUP, ACCEPTED + b"421 4.3.2 bye\r\n", ends=Ends(Deferred, "421 4.3.2 bye")
    ),
    "451 to DATA": one(
        *HELLO, *GROUP, OK * 2 + b"451 4.3.0 later\r\n", "RSET", ends=Ends(Deferred, "451 4.3.0")
    ),
    "354 of two lines without a text": one(
        *HELLO, *GROUP, OK * 2 + b"354-\r\n354\r\n", Step.CONTENT, OK, ends=TAKEN
    ),
    "221 to RCPT": one(*HELLO, *GROUP, OK + b"221 2.0.0 bye\r\n", ends=Ends(Deferred)),
    "552 to MAIL": one(
        *HELLO, *GROUP, b"552 5.3.4 too large\r\n" + NO, ends=Ends(Bounced, "552 5.3.4")
    ),
    "452 to MAIL for its size": one(
        *HELLO, *GROUP, b"452 4.3.1 no space\r\n" + NO, ends=Ends(Deferred, "452 4.3.1")
    ),
    "a window of 0 at MAIL": one(*HELLO, Step.NOT_READING, ends=UNSENT, time_limits=COMMAND_SHORT),
    HALF_ANSWERED: Case((SWALLOWING,) * 10, Ends(Deferred), time_limits=COMMAND_SHORT),
    # -- BDAT
    "BDAT is refused": chunk(b"554 5.7.1 spam\r\n", ends=Ends(Bounced, "554 5.7.1")),
    "BDAT is out of sequence": chunk(b"503 5.5.1 no\r\n", Step.HANG, ends=TAKEN),
    "BDAT is not answered": chunk(Step.HANG, ends=IN_DOUBT, time_limits=DATA_SHORT),
    "354 to BDAT": chunk(b"354 go\r\n", Step.HANG, ends=IN_DOUBT),
    "the end instead of a reply to BDAT": chunk(ends=IN_DOUBT),
    "two replies to BDAT": chunk(OK * 2, ends=TAKEN),
}


@pytest.mark.parametrize("name", CASES)
def test_a_message_ends_as_the_dialog_says_and_the_next_one_is_delivered(
    met: dict[str, Met], name: str
) -> None:
    check(CASES[name], met[name])


def test_a_server_that_reads_one_command_gets_one_at_a_time_from_then_on(
    met: dict[str, Met],
) -> None:
    last = met[HALF_ANSWERED].second[-1]
    assert isinstance(last, Delivered)
    assert last.reply == "250 2.0.0 one by one"
