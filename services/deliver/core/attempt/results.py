"""Defines the results of a transaction, of an attempt to connect and of a whole attempt. Pure.

The edge reports the result of a transaction or of an attempt to connect. verdicts.py maps this
result to the outcome of the whole attempt, and plan.py maps the outcome to records. A remote answer
is never an exception. Owns: the types of these values, and the rule that decides whether a result
concerns the connection or the message.

The fields of an outcome:

dispatched    a destination server answered MAIL or RCPT with any reply; such an attempt is billed
in_doubt      the whole content was sent but no answer came, so the server may have it
bounce_class  hard, soft, policy, content, authentication or network
reply         the server's answer, "" if there was none
enhanced      the RFC 3463 status in the reply, "" if there was none
site          the name of the destination's site
source        our local address
tls           the protocol version, "" for a connection without TLS
tls_policy    the TLS policy that applied
tls_fault     why the server's TLS was not used, or did not satisfy the policy
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from shared.smtp.events import Finished, Stage
from shared.smtp.extensions import Unsendable
from shared.smtp.reply import Reply

# RFC 5321, 3.8: the server closes the connection.
SERVICE_NOT_READY: Final = 421
# RFC 5321, 4.2.2: bad sequence of commands.
_BAD_SEQUENCE: Final = 503
# A reply that matches all three patterns is about the number of messages per connection.
_LIMIT_OF_A_CONNECTION: Final = (
    re.compile(r"\b(too (many|much)|limit\w*|max\w*|exceed\w*|only|reached)\b", re.IGNORECASE),
    re.compile(r"\b(messages?|e?-?mails?|transactions?|recipients?|rcpts?)\b", re.IGNORECASE),
    re.compile(
        r"\b(this|per|each|one|same|single|an?) (smtp |tcp )?(connection|session)\b", re.IGNORECASE
    ),
)


class Broken(Struct, frozen=True):
    """The transaction ended without an answer, because the connection broke or timed out.

    `answered` is True if the server had answered MAIL or RCPT. `in_doubt` is True if the whole
    content had been sent. `is_form_refused` is True if the server does not know the command with
    which the content was sent. Then the server has accepted nothing, and the next connection uses
    another command.
    """

    reason: str
    answered: bool
    in_doubt: bool
    is_form_refused: bool = False


class Refusal(Struct, frozen=True):
    """The server refused the connection in its greeting or in its answer to EHLO."""

    stage: Stage
    reply: Reply


class NoConnection(Struct, frozen=True):
    """No connection to the site could be opened. `reason` is printable text.

    `tls_policy` and `tls_fault` are set if a connection lacked the TLS that its policy requires.
    """

    reason: str
    tls_policy: str = ""
    tls_fault: str = ""


class NoSource(Struct, frozen=True):
    """The site cannot be reached from the source address. `reason` is printable text.

    This result says nothing about the site, because another source may reach it.
    """

    reason: str
    # True if the process cannot bind to the source address, so that no site can be reached from it.
    is_unavailable: bool = False
    # True if the source warms up and has used today's limit at this provider.
    is_warming: bool = False


class NoLogin(Struct, frozen=True):
    """The smart host did not let us log in. No message is offered until a login succeeds.

    `reason` is printable text. `reply` is the code and status of the answer to AUTH; "" if there
    was no answer. `waits_s` is the time until the next try to log in.
    """

    reason: str
    waits_s: float
    reply: str = ""


class NoRoute(Struct, frozen=True):
    """A definite answer of the DNS shows that no host of the site can be used.

    `reason` is printable text.
    """

    reason: str


class Busy(Struct, frozen=True):
    """The message was not offered, because the site is too slow or a limit has no room.

    `delay_s` is the likely time until the turn of the message. `is_turn` is True if the message
    waits for a limit; the limit may have room before `delay_s` has passed.
    """

    delay_s: float
    reason: str = "The site accepts mail more slowly than new mail arrives"
    is_turn: bool = False


class ConnectionInfo(Struct, frozen=True):
    """The connection used: its site, our local address and its TLS version ("" without TLS).

    `tls_policy` is the policy under which the connection was opened. `tls_fault` is the reason why
    the server's TLS was not used or did not satisfy the policy. `has_login` is True if we logged in
    at the server, or if the file of logins now has a login for the server.
    """

    site: str = ""
    source: str = ""
    tls: str = ""
    tls_fault: str = ""
    tls_policy: str = ""
    has_login: bool = False


class Delivered(Struct, frozen=True, tag=True):
    """The destination server accepted the message."""

    reply: str
    enhanced: str
    site: str
    source: str
    tls: str
    tls_fault: str = ""
    tls_policy: str = ""


class Deferred(Struct, frozen=True, tag=True):
    """The attempt failed for now; the message will be tried again."""

    reply: str
    enhanced: str
    bounce_class: str
    reason: str
    site: str
    source: str
    tls: str
    dispatched: bool
    in_doubt: bool = False
    # If `waits_s` is set, the message was not offered to a server and waits for this time. Such an
    # outcome does not count as an attempt.
    waits_s: float | None = None
    is_turn: bool = False  # True if the limit may have room before `waits_s` has passed
    tls_fault: str = ""
    tls_policy: str = ""
    # The delay steps that the shaping rules set for the destination; () stands for all steps.
    retry_steps: tuple[str, ...] = ()


class Bounced(Struct, frozen=True, tag=True):
    """The attempt failed permanently; the message will not be tried again."""

    reply: str
    enhanced: str
    bounce_class: str
    reason: str
    site: str
    source: str
    tls: str
    dispatched: bool
    in_doubt: bool = False
    tls_fault: str = ""
    tls_policy: str = ""


ConnectFault = Refusal | NoConnection | NoLogin | NoRoute | NoSource | Busy
TransactionResult = Finished | Broken | Unsendable
Outcome = Delivered | Deferred | Bounced


def costs_nothing(result: TransactionResult, messages: int) -> bool:
    """Return True if the message did not cause the failure, so it can be offered again at once.

    `messages` is the number of messages that the connection has carried, including this message.

    A connection that has carried other messages may end before this message starts: servers close
    idle connections, answer 421 to the next command, or limit the number of messages per
    connection. It is also possible that the server does not know the command with which the content
    was sent.
    """
    # `match` would take three times as long, and this function is called four times per message.
    if isinstance(result, Finished):
        stage, reply = result.stage, result.reply
        if messages <= 1 or reply.is_positive:
            return False
        is_over = reply.code == SERVICE_NOT_READY and stage in (Stage.RSET, Stage.MAIL)
        return is_over or is_about_connection(stage, reply)
    if isinstance(result, Broken):
        if result.is_form_refused:
            return True
        return messages > 1 and not result.answered and not result.in_doubt
    return False


def is_about_connection(stage: Stage, reply: Reply) -> bool:
    """Return True if the server refused a message because of earlier ones on this connection.

    Either the connection has carried as many messages as the server accepts per connection, or the
    server has lost track of the dialog (503 to MAIL). On a new connection the server would answer
    differently.
    """
    if stage is Stage.MAIL and reply.code == _BAD_SEQUENCE:
        return True
    if stage not in (Stage.MAIL, Stage.RCPT) or reply.is_positive:
        return False
    return all(part.search(reply.text) for part in _LIMIT_OF_A_CONNECTION)


def is_push_back(result: TransactionResult) -> bool:
    """Return True if a 421 or a broken connection shows that the server wants fewer connections."""
    if isinstance(result, Finished):
        return result.reply.code == SERVICE_NOT_READY
    return isinstance(result, Broken)
