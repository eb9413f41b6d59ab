"""Hostile servers in the greeting, EHLO and STARTTLS: the outcome of each dialog."""

from __future__ import annotations

import pytest

from services.deliver.core.attempt.results import Deferred
from tests.support.hostile.cases import (
    ACCEPTED,
    COMMAND_SHORT,
    GREETING_SHORT,
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
from tests.support.hostile.server import GREETING, OFFERS, Clear, Pause, Read, Slowly, Step

# The dialogs run at once, in one process.
pytestmark = pytest.mark.xdist_group("hostile-openings")

REST = (*GROUP, ACCEPTED, Step.CONTENT, b"250 2.0.0 taken\r\n")
BY_ONE = (
    *("MAIL", b"250 ok\r\n", "RCPT", b"250 ok\r\n", "DATA", b"354 go\r\n"),
    *(Step.CONTENT, b"250 taken\r\n"),
)
OFFERS_TLS = b"250-mx.d.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n"
HELLO_TLS = (GREETING, "EHLO", OFFERS_TLS, "STARTTLS")
SECURED = (*HELLO_TLS, b"220 go\r\n", Step.TLS, "EHLO", OFFERS)

CASES: dict[str, Case] = {
    # -- the greeting
    "a greeting that comes late": one(Pause(0.3), *HELLO, *REST, ends=TAKEN),
    "a greeting that never comes": one(Step.HANG, ends=UNSENT, time_limits=GREETING_SHORT),
    "a greeting byte by byte": one(Slowly(GREETING), "EHLO", Slowly(OFFERS), *REST, ends=TAKEN),
    "a greeting that stops halfway": one(
        b"220 mx.d.ex", Step.HANG, ends=UNSENT, time_limits=GREETING_SHORT
    ),
    "a greeting of two lines with a pause between them": one(
        b"220-mx.d.example\r\n", Pause(0.3), *HELLO, *REST, ends=TAKEN
    ),
    "a greeting of 300 lines": one(b"220-welcome to mx\r\n" * 300, *HELLO, *REST, ends=TAKEN),
    "a greeting without an end": one(b"220-" + b"x" * 2_000_000, Step.HANG, ends=UNSENT),
    "a greeting with 8-bit text, NUL and controls": one(
        b"220 \xff\xfe\x00\x1b[2J gr\xfc\xdfe\r\n", "EHLO", OFFERS, *REST, ends=TAKEN
    ),
    "a greeting that ends with a bare LF": one(b"220 mx\n", "EHLO", OFFERS, *REST, ends=TAKEN),
    "a greeting without a text": one(b"220\r\n", "EHLO", OFFERS, *REST, ends=TAKEN),
    "a greeting, then the end": one(GREETING, ends=UNSENT),
    "no greeting, but the end": one(ends=UNSENT),
    "no greeting, but a RST": one(Step.RESET, ends=UNSENT),
    "a greeting with 421": one(
        b"421 4.7.0 too many connections\r\n",
        ends=Ends(Deferred, "421 4.7.0 too many connections", dispatched=False),
    ),
    "a greeting with 554": one(
        b"554 no SMTP service here\r\n",
        "QUIT",
        ends=Ends(Deferred, "554 no SMTP service here", dispatched=False),
    ),
    "a greeting with 521": one(
        b"521 5.3.2 mx.d.example takes no mail\r\n",
        ends=Ends(Deferred, "521 5.3.2 ", dispatched=False),
    ),
    "our side is closed after the greeting": one(GREETING, Step.HALF_CLOSE, Step.HANG, ends=UNSENT),
    "a greeting with 250": one(
        b"250 hello\r\n", ends=Ends(Deferred, "250 hello", dispatched=False)
    ),
    "the banner of SSH": one(b"SSH-2.0-OpenSSH_9.6\r\n", Step.HANG, ends=UNSENT),
    "an HTTP server": one(b"HTTP/1.1 400 Bad Request\r\n\r\n", ends=UNSENT),
    "a TLS alert for a greeting": one(b"\x15\x03\x01\x00\x02\x02\x50", ends=UNSENT),
    # -- EHLO
    "EHLO is refused, HELO is not": one(
        GREETING, "EHLO", b"502 5.5.1 what\r\n", "HELO", b"250 mx\r\n", *BY_ONE, ends=TAKEN
    ),
    "EHLO and HELO are refused": one(
        *(GREETING, "EHLO", b"550 5.7.1 not you\r\n", "HELO", b"550 5.7.1 go away\r\n", "QUIT"),
        ends=Ends(Deferred, "550 5.7.1 ", dispatched=False),
    ),
    "421 to EHLO": one(
        *(GREETING, "EHLO", b"421 4.3.2 closing\r\n"),
        ends=Ends(Deferred, "421 4.3.2 closing", dispatched=False),
    ),
    "EHLO is not answered": one(
        GREETING, "EHLO", Step.HANG, ends=UNSENT, time_limits=COMMAND_SHORT
    ),
    "the end instead of a reply to EHLO": one(GREETING, "EHLO", ends=UNSENT),
    "an EHLO reply with broken lines": one(
        *(GREETING, "EHLO", b"250-mx\r\n250-\r\n250-SIZE lots\r\n250-PIPELINING x y\r\n"),
        *(b"250-AUTH=LOGIN\r\n250-=\xff\x00\r\n250 \r\n", *REST),
        ends=TAKEN,
    ),
    "an EHLO reply of one line": one(GREETING, "EHLO", b"250 mx\r\n", *BY_ONE, ends=TAKEN),
    "an EHLO reply without an end": one(
        GREETING, "EHLO", b"250-SIZE\r\n" * 200_000, Step.HANG, ends=UNSENT
    ),
    "a reply too many before EHLO": one(
        GREETING + b"250 PIPELINING\r\n",
        "EHLO",
        OFFERS,
        Step.HANG,
        ends=UNSENT,
        time_limits=COMMAND_SHORT,
    ),
    "the replies to a transaction with that to EHLO": one(
        GREETING, "EHLO", OFFERS + ACCEPTED + b"250 taken\r\n", Step.HANG, ends=UNSENT
    ),
    "an EHLO reply of 100,000 lines": one(
        GREETING, "EHLO", b"250-x\r\n" * 100_000 + b"250 X\r\n", Step.HANG, ends=UNSENT
    ),
    "keywords in lower case, twice, with tabs and with =": one(
        *(GREETING, "EHLO", b"250-mx\r\n250-auth=plain\r\n250-pipelining\r\n250-SIZE\t1\r\n"),
        *(b"250-size 99999999999999999999\r\n250-size 1\r\n250 STARTTLS\r\n", "STARTTLS"),
        *(b"220-now\r\n220 go\r\n", Step.TLS, "EHLO", OFFERS, *REST),
        ends=TAKEN,
    ),
    "EHLO is refused in two codes, HELO is not": one(
        GREETING, "EHLO", b"250-mx\r\n550 no\r\n", "HELO", b"250\tmx\r\n", *BY_ONE, ends=TAKEN
    ),
    "421 to EHLO from a server that goes on": one(
        *(GREETING, "EHLO", b"421 4.3.2 closing\r\n", Step.HANG),
        ends=Ends(Deferred, "421 4.3.2 closing", dispatched=False),
    ),
    "421 with the greeting": one(
        GREETING + b"421 4.3.2 too busy\r\n",
        ends=Ends(Deferred, "421 4.3.2 too busy", dispatched=False),
    ),
    "421 with the reply to EHLO": one(
        *(GREETING, "EHLO", OFFERS + b"421 4.3.2 too busy\r\n"),
        ends=Ends(Deferred, "421 4.3.2 too busy", dispatched=False),
    ),
    "a greeting that comes twice": one(GREETING * 2, Step.HANG, ends=UNSENT),
    "the reply to EHLO with the greeting": one(GREETING + OFFERS, Step.HANG, ends=UNSENT),
    # -- STARTTLS
    "250 to STARTTLS, then silence": one(*HELLO_TLS, b"250 go\r\n", Step.HANG, ends=TAKEN),
    "a RST instead of a reply to STARTTLS": one(*HELLO_TLS, Step.RESET, ends=TAKEN),
    "our side is closed after 220": one(
        *HELLO_TLS, b"220 go\r\n", Step.HALF_CLOSE, Step.HANG, ends=TAKEN
    ),
    "a second greeting over TLS": one(
        *HELLO_TLS, b"220 go\r\n", Step.TLS, GREETING, "EHLO", OFFERS, Step.HANG, ends=TAKEN
    ),
    "EHLO and HELO are refused over TLS": one(
        *(*HELLO_TLS, b"220 go\r\n", Step.TLS, "EHLO", b"550 5.7.1 not you\r\n"),
        *("HELO", b"550 5.7.1 go away\r\n", "QUIT"),
        ends=Ends(Deferred, "550 5.7.1 ", dispatched=False),
    ),
    "PIPELINING is not offered again over TLS": one(
        *HELLO_TLS, b"220 go\r\n", Step.TLS, "EHLO", b"250 mx\r\n", *BY_ONE, ends=TAKEN
    ),
    "all replies over TLS byte by byte": one(
        *(*SECURED, *GROUP, Slowly(ACCEPTED), Step.CONTENT, Slowly(b"250 2.0.0 taken\r\n")),
        ends=TAKEN,
    ),
    "a part of the reply to the content over TLS, then the end": one(
        *(*SECURED, *GROUP, ACCEPTED, Step.CONTENT, b"250 2.0.0 tak"), ends=IN_DOUBT
    ),
    "STARTTLS is refused": one(*HELLO_TLS, b"454 4.7.0 not now\r\n", *REST, ends=TAKEN),
    "a plain-text reply behind 220": one(
        *HELLO_TLS,
        b"220 go\r\n250-mx\r\n250 SIZE 1\r\n",
        Step.TLS,
        "EHLO",
        OFFERS,
        *REST,
        ends=TAKEN,
    ),
    "421 to STARTTLS": one(
        *HELLO_TLS,
        b"421 4.7.0 not now\r\n",
        ends=Ends(Deferred, "421 4.7.0 not now", dispatched=False),
    ),
    "421 over TLS": one(
        *(*HELLO_TLS, b"220 go\r\n", Step.TLS, "EHLO", b"421 4.3.2 closing\r\n"),
        ends=Ends(Deferred, "421 4.3.2 closing", dispatched=False),
    ),
    "STARTTLS is offered again over TLS": one(
        *(*HELLO_TLS, b"220 go\r\n", Step.TLS, "EHLO", OFFERS_TLS, *REST), ends=TAKEN
    ),
    "random bytes behind 220": one(*HELLO_TLS, b"220 go\r\n" + b"\x00\xffx" * 300, ends=TAKEN),
    "a handshake that never comes": Case(
        ((*HELLO_TLS, b"220 go\r\n", Step.HANG),), TAKEN, time_limits=COMMAND_SHORT
    ),
    "clear text instead of a handshake": one(*HELLO_TLS, b"220 go\r\n250 mx\r\n", ends=TAKEN),
    "the end after the handshake": one(*HELLO_TLS, b"220 go\r\n", Step.TLS, ends=TAKEN),
    "EHLO is refused over TLS, HELO is not": one(
        *(*HELLO_TLS, b"220 go\r\n", Step.TLS, "EHLO", b"502 what\r\n", "HELO", b"250 mx\r\n"),
        *BY_ONE,
        ends=TAKEN,
    ),
    "clear text after the handshake": one(
        *SECURED, *GROUP, Clear(ACCEPTED + b"250 taken\r\n"), ends=UNSENT
    ),
    "a TLS alert in the content": one(
        *SECURED,
        *GROUP,
        ACCEPTED,
        Read(1),  # the client has had its 354
        Clear(b"\x15\x03\x03\x00\x02\x02\x14"),
        Step.HANG,
        ends=IN_DOUBT,
    ),
    "the reply to the content with a TLS alert": one(
        *SECURED, *REST, Clear(b"\x15\x03\x03\x00\x02\x02\x14"), ends=TAKEN
    ),
    "the reply to the content, then a TLS alert": one(
        *SECURED, *REST, Pause(0.2), Clear(b"\x15\x03\x03\x00\x02\x02\x14"), ends=TAKEN
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_message_ends_as_the_dialog_says_and_the_next_one_is_delivered(
    met: dict[str, Met], name: str
) -> None:
    check(CASES[name], met[name])
