"""How a transaction, or an attempt to connect, ended: what the edge reports about a server. Pure.

Owns the shapes only; verdicts.py decides what each means for a message.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from shared.smtp.client.session import Unsendable
from shared.smtp.events import Finished, Stage
from shared.smtp.reply import Reply

# RFC 5321, 3.8: the server closes the connection.
SERVICE_NOT_READY: Final = 421


class Broken(Struct, frozen=True):
    """A transaction ended without an answer: the connection broke or timed out.

    `answered`: MAIL or RCPT had been answered. `in_doubt`: the content had been sent completely.
    """

    reason: str
    answered: bool
    in_doubt: bool


class Refusal(Struct, frozen=True):
    """The server refused in its greeting or in its answer to EHLO."""

    stage: Stage
    reply: Reply


class NoConnection(Struct, frozen=True):
    """There is no connection to the site; `reason` is clean text."""

    reason: str


class ConnectionInfo(Struct, frozen=True):
    """The connection used: the site, our local address, the TLS version ("" without TLS).

    `tls_fault`: why there is no TLS although the server offers it.
    """

    site: str = ""
    source: str = ""
    tls: str = ""
    tls_fault: str = ""


ConnectFault = Refusal | NoConnection
TransactionResult = Finished | Broken | Unsendable
