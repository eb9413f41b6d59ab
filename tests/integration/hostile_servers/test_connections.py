"""Hostile servers below and beside SMTP: closes, resets, windows, slowness, what EHLO announces."""

from __future__ import annotations

import pytest

from services.deliver.core.attempt.results import Bounced, Deferred
from tests.support.hostile.cases import (
    ACCEPTED,
    COMMAND_LIMITED,
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
from tests.support.hostile.server import GREETING, Pause, Read, Slowly, Step

# The dialogs run at once, in one process.
pytestmark = pytest.mark.xdist_group("hostile-connections")

OK = b"250 ok\r\n"
NOT_TAKEN = Ends(Deferred)
LARGE = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 130_000
SENT = (*HELLO, *GROUP, ACCEPTED, Step.CONTENT)
BY_ONE = ("MAIL", OK, "RCPT", OK, "DATA", b"354 go\r\n", Step.CONTENT, b"250 taken\r\n")
UTF8 = "jörg@d.example"


def offering(*lines: bytes) -> tuple[bytes | str, ...]:
    return (
        GREETING,
        "EHLO",
        b"".join(b"250-%b\r\n" % line for line in (b"mx", *lines)),
        b"250 X\r\n",
    )


def large(*dialog: object, ends: Ends, **options: object) -> Case:
    return one(*HELLO, *GROUP, ACCEPTED, *dialog, ends=ends, content=LARGE, **options)


CASES: dict[str, Case] = {
    # -- closes and resets
    "the end after the EHLO reply": one(*HELLO, ends=UNSENT),
    "a RST after the EHLO reply": one(*HELLO, Step.RESET, ends=UNSENT),
    "our side is closed after the EHLO reply": one(*HELLO, Step.HALF_CLOSE, Step.HANG, ends=UNSENT),
    "the end instead of replies": one(*HELLO, *GROUP, ends=UNSENT),
    "a RST instead of replies": one(*HELLO, *GROUP, Step.RESET, ends=UNSENT),
    "the end after the reply to MAIL": one(*HELLO, *GROUP, OK, ends=NOT_TAKEN),
    "a RST after the reply to RCPT": one(
        *HELLO, *GROUP, OK * 2, Pause(0.2), Step.RESET, ends=NOT_TAKEN
    ),
    "the end after a refused recipient": one(
        *HELLO, *GROUP, OK + b"550 5.1.1 no such user\r\n", ends=Ends(Bounced, "550 5.1.1")
    ),
    "the end after 354": one(*HELLO, *GROUP, ACCEPTED, Read(10), ends=IN_DOUBT),
    "the end after the content": one(*SENT, ends=IN_DOUBT),
    "a RST after the content": one(*SENT, Step.RESET, ends=IN_DOUBT),
    "our side is closed after the content": one(*SENT, Step.HALF_CLOSE, Step.HANG, ends=IN_DOUBT),
    "our side is closed after 354": one(
        *HELLO, *GROUP, ACCEPTED, Step.HALF_CLOSE, Step.CONTENT, ends=IN_DOUBT
    ),
    "250, then the end": one(*SENT, b"250 taken\r\n", ends=TAKEN),
    "250, then a RST": one(*SENT, b"250 taken\r\n", Pause(0.2), Step.RESET, ends=TAKEN),
    "250, then our side is closed": one(
        *SENT, b"250 taken\r\n", Step.HALF_CLOSE, Step.HANG, ends=TAKEN
    ),
    # -- a content that cannot be sent
    "a window of 0": large(Step.NOT_READING, ends=NOT_TAKEN, time_limits=DATA_SHORT),
    "a window of 0, and 250 after a while": large(
        Pause(0.3), b"250 taken\r\n", Step.NOT_READING, ends=IN_DOUBT
    ),
    "a window of 0, and 250 after a while, over TLS": one(
        *(GREETING, "EHLO", b"250-mx\r\n250 STARTTLS\r\n", "STARTTLS", b"220 go\r\n", Step.TLS),
        *("EHLO", b"250-mx\r\n250 PIPELINING\r\n", *GROUP, ACCEPTED, Pause(0.3)),
        *(b"250 taken\r\n", Step.NOT_READING),
        ends=IN_DOUBT,
        content=LARGE,
    ),
    "a window of 0, and 552": large(
        Pause(0.3), b"552 5.3.4 too large\r\n", Step.NOT_READING, ends=Ends(Bounced, "552 5.3.4")
    ),
    "a window of 0, and 421": large(
        Pause(0.3), b"421 4.3.0 full\r\n", Step.NOT_READING, ends=Ends(Deferred, "421 4.3.0 full")
    ),
    "a window of 0, and our side is closed": large(
        Pause(0.3), Step.HALF_CLOSE, Step.NOT_READING, ends=NOT_TAKEN
    ),
    "a RST in the content": large(Pause(0.3), Step.RESET, ends=NOT_TAKEN),
    "one byte at a time is read": large(
        Read(1),
        Pause(0.1),
        Read(2),
        Pause(0.1),
        Step.NOT_READING,
        ends=NOT_TAKEN,
        time_limits=DATA_SHORT,
    ),
    # -- slowness
    "each reply takes its time, and all together take longer than one may": one(
        *HELLO,
        *GROUP,
        *(Pause(3.1), OK, Pause(3.1), OK, Pause(3.1), b"354 go\r\n"),
        Step.CONTENT,
        b"250 taken\r\n",
        ends=TAKEN,
        time_limits=COMMAND_LIMITED,
    ),
    "a reply to MAIL of one byte at a time": one(
        *HELLO,
        *GROUP,
        Slowly(b"250 2.1.0 ok\r\n", 0.5),
        Step.HANG,
        ends=UNSENT,
        time_limits=COMMAND_SHORT,
    ),
    "a reply to the content of one byte at a time": one(
        *SENT, Slowly(b"250 2.0.0 ok\r\n", 0.3), Step.HANG, ends=IN_DOUBT, time_limits=DATA_SHORT
    ),
    "lines of a reply to the content without an end": one(
        *SENT, *(b"250-x\r\n", Pause(0.3)) * 8, Step.HANG, ends=IN_DOUBT, time_limits=DATA_SHORT
    ),
    "the reply to the content comes too late": one(
        *SENT, Pause(1.5), b"250 taken\r\n", ends=IN_DOUBT, time_limits=DATA_SHORT
    ),
    "no reply to MAIL": one(*HELLO, *GROUP, Step.HANG, ends=UNSENT, time_limits=COMMAND_SHORT),
    "no reply to DATA": one(
        *HELLO, *GROUP, OK * 2, Step.HANG, ends=NOT_TAKEN, time_limits=COMMAND_SHORT
    ),
    # -- what EHLO announces
    "SIZE 0": one(*offering(b"SIZE 0"), *BY_ONE, ends=TAKEN),
    "SIZE without a number": one(*offering(b"SIZE"), *BY_ONE, ends=TAKEN),
    "SIZE that no integer holds": one(*offering(b"SIZE " + b"9" * 400), *BY_ONE, ends=TAKEN),
    "SIZE below zero": one(*offering(b"SIZE -1"), *BY_ONE, ends=TAKEN),
    "SIZE smaller than the message": one(
        *offering(b"SIZE 10"),
        Step.HANG,
        for_all=True,
        ends=Ends(Bounced, dispatched=False, bounce_class="content"),
    ),
    "no SMTPUTF8 for an address that needs it": one(
        *offering(b"8BITMIME"), "MAIL", ends=Ends(Bounced, dispatched=False), recipient=UTF8
    ),
    "no 8BITMIME for 8-bit text that cannot be converted": one(
        *offering(b"SIZE"),
        "MAIL",
        ends=Ends(Bounced, dispatched=False),
        content=b"S: x\r\n\r\n\xe4\r\n",
    ),
    "CHUNKING without DATA": one(
        *offering(b"CHUNKING", b"BINARYMIME"),
        "MAIL",
        OK,
        "RCPT",
        OK,
        "DATA",
        b"502 5.5.1 use BDAT\r\n",
        ends=Ends(Bounced, "502 5.5.1 use BDAT"),
    ),
    "PIPELINING without pipelining": one(
        *HELLO,
        "MAIL",
        OK,
        Pause(0.1),
        "RCPT",
        OK,
        Pause(0.1),
        "DATA",
        b"354 go\r\n",
        Step.CONTENT,
        b"250 taken\r\n",
        ends=TAKEN,
    ),
    # -- servers that never change
    "4xx to every message": Case(
        ((*HELLO, *GROUP, OK + b"450 4.2.0 later\r\n503 no\r\n"),),
        Ends(Deferred, "450 4.2.0 later"),
        for_all=True,
    ),
    "a limit of connections that is always reached": Case(
        ((b"421 4.7.0 too many connections from you\r\n",),),
        Ends(Deferred, "421 4.7.0 too many", dispatched=False),
        for_all=True,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_message_ends_as_the_dialog_says_and_the_next_one_is_delivered(
    met: dict[str, Met], name: str
) -> None:
    check(CASES[name], met[name])
