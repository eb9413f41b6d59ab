"""Hostile servers in a transaction: replies that are odd, wrong, too many, too few, too long."""

from __future__ import annotations

import pytest

from services.deliver.core.attempt.results import Bounced, Deferred
from tests.support.hostile.cases import (
    ACCEPTED,
    COMMAND_SHORT,
    GROUP,
    HELLO,
    IN_DOUBT,
    LAST_REPLY_SHORT,
    TAKEN,
    UNSENT,
    Case,
    Ends,
    Met,
    check,
    one,
)
from tests.support.hostile.server import GREETING, Pause, Slowly, Step

# The dialogs run at once, in one process.
pytestmark = pytest.mark.xdist_group("hostile-replies")

BARE = (GREETING, "EHLO", b"250 mx.d.example\r\n")
CONTENT = (*HELLO, *GROUP, ACCEPTED, Step.CONTENT)
OK = b"250 ok\r\n"
NOT_TAKEN = Ends(Deferred)
UNKNOWN = Ends(Bounced, "550 5.1.1 ", bounce_class="hard")


def to_group(mail: bytes, rcpt: bytes, data: bytes, ends: Ends) -> Case:
    """These replies to MAIL, RCPT and DATA, then silence until the client quits."""
    return one(*HELLO, *GROUP, mail + rcpt + data, ends=ends)


def to_rcpt(reply: bytes, ends: Ends) -> Case:
    return to_group(OK, reply, b"554 5.5.1 no valid recipients\r\n", ends)


def to_content(reply: bytes, ends: Ends) -> Case:
    return one(*CONTENT, reply, ends=ends)


def broken(*dialog: object, ends: Ends = NOT_TAKEN) -> Case:
    """The client closes the connection of its own accord."""
    return one(*HELLO, *GROUP, *dialog, Step.HANG, ends=ends)


CASES: dict[str, Case] = {
    # -- 421 at each step
    "421 to MAIL": one(
        *HELLO, *GROUP, b"421 4.7.0 wait\r\n", ends=Ends(Deferred, "421 4.7.0 wait")
    ),
    "421 to RCPT": one(
        *HELLO, *GROUP, OK + b"421 4.7.0 wait\r\n", ends=Ends(Deferred, "421 4.7.0 wait")
    ),
    "421 to DATA": one(
        *HELLO, *GROUP, OK * 2 + b"421 4.7.0 wait\r\n", ends=Ends(Deferred, "421 4.7.0 wait")
    ),
    "421 to the content": one(
        *CONTENT, b"421 4.3.2 shutting down\r\n", ends=Ends(Deferred, "421 4.3.2 shutting down")
    ),
    "421 after a refused recipient": one(
        *HELLO, *GROUP, OK + b"550 5.1.1 no such user\r\n421 4.3.2 bye\r\n", ends=UNKNOWN
    ),
    # -- positive replies that are unusual
    "252 to RCPT": one(
        *HELLO, *GROUP, OK + b"252 2.1.5 cannot verify\r\n354 go\r\n", Step.CONTENT, OK, ends=TAKEN
    ),
    "251 to RCPT": one(
        *HELLO, *GROUP, OK + b"251 will forward\r\n354 go\r\n", Step.CONTENT, OK, ends=TAKEN
    ),
    "2xx that RFC 5321 does not know": one(
        *HELLO,
        *GROUP,
        b"299 yes\r\n200 yes\r\n354 go\r\n",
        Step.CONTENT,
        b"280 yes\r\n",
        ends=Ends(TAKEN.kind, "280 yes"),
    ),
    "253 to RCPT": one(
        *HELLO, *GROUP, OK + b"253 5 wait\r\n354 go\r\n", Step.CONTENT, OK, ends=TAKEN
    ),
    "252 to the content": to_content(b"252 2.0.0 maybe\r\n", Ends(TAKEN.kind, "252")),
    # -- refusals
    "556 to RCPT": to_rcpt(b"556 5.1.10 null MX\r\n", Ends(Bounced, "556 5.1.10 ")),
    "a refusal for each of two recipients": to_rcpt(b"550 5.1.1 no such user\r\n" * 2, UNKNOWN),
    "a grey list, and 354 and 250 all the same": one(
        *HELLO,
        *GROUP,
        OK + b"450 4.7.1 greylisted\r\n354 go\r\n",
        ".",
        b"250 taken\r\n",
        ends=Ends(Deferred, "450 4.7.1 greylisted"),
    ),
    "551 to RCPT": to_rcpt(b"551 5.1.6 try <b@e.example>\r\n", Ends(Bounced, "551 5.1.6")),
    "a grey list": to_rcpt(b"450 4.2.0 greylisted, try again\r\n", Ends(Deferred, "450 4.2.0")),
    "530 to MAIL": to_group(
        b"530 5.7.0 authentication required\r\n",
        b"530 no\r\n",
        b"530 no\r\n",
        Ends(Bounced, "530 5.7.0", bounce_class="policy"),
    ),
    "552 to the content": to_content(b"552 5.3.4 too large\r\n", Ends(Bounced, "552 5.3.4")),
    "a refused recipient, and 354 all the same": one(
        *HELLO,
        *GROUP,
        OK + b"550 5.1.1 no such user\r\n354 go\r\n",
        ".",
        b"250 queued\r\n",
        ends=UNKNOWN,
    ),
    "a refused sender, a taken recipient and 354": one(
        *HELLO,
        *GROUP,
        b"550 5.7.1 not you\r\n250 ok\r\n354 go\r\n",
        ".",
        b"554 none\r\n",
        ends=Ends(Bounced, "550 5.7.1 not you"),
    ),
    # -- contradictions
    "250 with a status of 5": to_content(b"250 5.1.1 taken\r\n", Ends(TAKEN.kind, "250 5.1.1")),
    "550 with a status of 2": to_rcpt(b"550 2.0.0 no such user\r\n", Ends(Bounced, "550 2.0.0")),
    "451 with a status of 5": to_rcpt(b"451 5.1.1 no such user\r\n", Ends(Deferred, "451 5.1.1")),
    "two codes in one reply to RCPT": broken(OK + b"550-no\r\n450 maybe\r\n354 go\r\n"),
    "two codes in one reply to the content": to_content(
        b"550-no\r\n250 well, yes\r\n", Ends(TAKEN.kind, "250 no / well, yes")
    ),
    "a continued 250 to the content, then 550": to_content(
        b"250-yes\r\n550 5.7.1 well, no\r\n", Ends(Bounced, "550 yes / 5.7.1 well, no")
    ),
    # -- out of step
    "250 to DATA": broken(OK * 3),
    "354 to MAIL": broken(b"354 go\r\n", ends=UNSENT),
    "354 to RCPT": broken(OK + b"354 go\r\n"),
    "354 to the content": broken(ACCEPTED, Step.CONTENT, b"354 go\r\n", ends=IN_DOUBT),
    "354 twice at once": broken(ACCEPTED + b"354 go\r\n"),
    "354 again after the content": broken(
        ACCEPTED, Step.CONTENT, b"354 more\r\n250 taken\r\n", ends=IN_DOUBT
    ),
    "334 to MAIL": broken(b"334 VXNlcm5hbWU6\r\n", ends=UNSENT),
    "334 to the content": broken(ACCEPTED, Step.CONTENT, b"334 \r\n", ends=IN_DOUBT),
    "the replies to the next message with that to the content": one(
        *CONTENT, b"250 taken\r\n" + ACCEPTED + b"250 taken\r\n", Step.HANG, ends=TAKEN
    ),
    "the replies to the next message before it": one(
        *(*CONTENT, b"250 taken\r\n", Pause(0.1), ACCEPTED, Step.HANG),
        ends=TAKEN,
        time_limits=LAST_REPLY_SHORT,
    ),
    "replies after 421": one(
        *CONTENT, b"250 taken\r\n421 4.3.2 bye\r\n250 more\r\n550 no\r\n", ends=TAKEN
    ),
    "250 to DATA without PIPELINING": one(
        *BARE, "MAIL", OK, "RCPT", OK, "DATA", OK, Step.HANG, ends=NOT_TAKEN
    ),
    "a reply is missing": one(
        *HELLO, *GROUP, OK + b"354 go\r\n", Step.HANG, ends=NOT_TAKEN, time_limits=COMMAND_SHORT
    ),
    "the last reply is missing": one(
        *HELLO, *GROUP, OK * 2, Step.HANG, ends=NOT_TAKEN, time_limits=COMMAND_SHORT
    ),
    "a reply too many to RCPT": broken(OK * 3 + b"354 go\r\n"),
    "the reply to the content with 354": broken(ACCEPTED + b"250 taken\r\n"),
    "two replies to the content at once": to_content(b"250 taken\r\n550 5.1.1 no\r\n", TAKEN),
    "two positive replies to the content at once": to_content(b"250 taken\r\n250 taken\r\n", TAKEN),
    "a second reply to the content that comes late": one(
        *CONTENT,
        b"250 taken\r\n",
        Pause(0.3),
        b"550 5.1.1 no such user\r\n",
        Step.HANG,
        ends=TAKEN,
        time_limits=COMMAND_SHORT,
    ),
    "a second reply to the content while the next message is offered": one(
        *(*CONTENT, b"250 taken\r\n", *GROUP, b"550 5.1.1 no such user\r\n", ACCEPTED, Step.HANG),
        ends=TAKEN,
    ),
    "a second reply to the content, then the end of the next transaction": one(
        *(*CONTENT, b"250 taken\r\n", *GROUP, b"550 5.1.1 no such user\r\n", OK), ends=TAKEN
    ),
    # -- no replies
    "a code without an end": one(*CONTENT, b"250 2.0.0 queued as 12", ends=IN_DOUBT),
    "a continued line, then the end": one(*CONTENT, b"250-2.0.0 queued\r\n", ends=IN_DOUBT),
    "words without a code to the content": broken(
        ACCEPTED, Step.CONTENT, b"queued\r\n", ends=IN_DOUBT
    ),
    "a code of two digits to RCPT": broken(OK + b"25 ok\r\n354 go\r\n"),
    "a code of four digits to MAIL": broken(b"2500 ok\r\n", ends=UNSENT),
    "a code out of range to MAIL": broken(b"650 ok\r\n", ends=UNSENT),
    "NUL for a reply to MAIL": broken(b"\x00\x00\x00\x00\r\n", ends=UNSENT),
    "NUL before a code": broken(b"\x00250 ok\r\n", ends=UNSENT),
    "NUL, escapes and 8-bit text in a refusal": to_rcpt(
        b"550 5.1.1 \x1b[31mno\x00 such\xff user\r\n", UNKNOWN
    ),
    "an empty line between two replies": broken(OK + b"\r\n" + OK + b"354 go\r\n"),
    "a second line without a hyphen before it": one(
        *CONTENT, b"250 2.0.0 taken\r\n2.0.0 and more\r\n", ends=TAKEN
    ),
    "a refusal of MAIL whose code changes": broken(b"250-ok\r\n550 5.7.1 no\r\n", ends=UNSENT),
    "invisible marks in a refusal": to_rcpt(
        "550 5.1.1 no\u200b such\u061c\ufeff user\u00a0here\U000e0041\r\n".encode(), UNKNOWN
    ),
    # -- forms of the code
    "a tab behind the code to the content": to_content(b"250\ttaken\r\n", TAKEN),
    "nothing behind the code to the content": to_content(b"250OK\r\n", TAKEN),
    "an empty line before the reply to the content": to_content(b"\r\n250 taken\r\n", TAKEN),
    "NUL and blanks before the code to the content": to_content(b"\x00 250 taken\r\n", TAKEN),
    "1xx before the reply to the content": to_content(b"150 wait\r\n250 taken\r\n", TAKEN),
    "1xx to the content, then the end": one(*CONTENT, b"150 wait\r\n", ends=IN_DOUBT),
    "a code out of range to the content": broken(
        ACCEPTED, Step.CONTENT, b"650 ok\r\n", ends=IN_DOUBT
    ),
    # -- line ends and pieces
    "a reply to the content byte by byte": one(
        *CONTENT, Slowly(b"250 2.0.0 taken\r\n", 0.01), ends=TAKEN
    ),
    "a reply to the content in two pieces": one(
        *CONTENT, b"25", Pause(0.2), b"0 taken\r", Pause(0.2), b"\n", ends=TAKEN
    ),
    "bare LF in all replies": one(
        *HELLO,
        *GROUP,
        ACCEPTED.replace(b"\r", b""),
        Step.CONTENT,
        b"250-a\n250 b\n",
        ends=TAKEN,
    ),
    "bare CR in a reply to RCPT": to_rcpt(b"550 5.1.1 no\r550 5.1.1 such\ruser\r\n", UNKNOWN),
    # -- much too long
    "a refusal of 1,000 lines": to_rcpt(
        b"550-5.1.1 no such user here, and more words about it\r\n" * 1_000
        + b"550 5.1.1 no such user\r\n",
        UNKNOWN,
    ),
    "a refusal of one line with 10,000 bytes": to_rcpt(
        b"550 5.1.1 no such user" + b" x" * 5_000 + b"\r\n", UNKNOWN
    ),
    "a reply to the content of 10,000 lines": to_content(
        b"250-taken, and more words about it\r\n" * 10_000 + b"250 taken\r\n", TAKEN
    ),
    "a reply to RCPT without an end": broken(OK + b"550-x\r\n" * 400_000),
    "a line to RCPT without an end": broken(OK + b"550 " + b"x" * 3_000_000),
    "a reply to the content without an end": broken(
        ACCEPTED, Step.CONTENT, b"250-x\r\n" * 400_000, ends=IN_DOUBT
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_message_ends_as_the_dialog_says_and_the_next_one_is_delivered(
    met: dict[str, Met], name: str
) -> None:
    check(CASES[name], met[name])
