"""The outcome of one attempt, as a value. A remote answer is never an exception.

Owns: the three outcomes. Does not own: how a reply becomes an outcome (verdicts.py),
the steps that follow (plan.py).

`dispatched`: a destination server answered our MAIL or RCPT command, with any reply; this is
billed. `in_doubt`: the content was sent completely and no answer came, so the server may hold a
copy. `bounce_class` is one of hard, soft, policy, content, authentication, network. `reply` is the
server's answer ("" if there was none), `enhanced` its status of RFC 3463 ("" if it gave none),
`site` the name of the destination's site, `source` the local address, `tls` the protocol version
("" for a connection without TLS), `tls_policy` the policy of TLS that applied, `tls_fault` why
there was no TLS although the server offers it, or why it was not as the policy wants it.
"""

from __future__ import annotations

from msgspec import Struct


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
    # Set: the message was not offered to a server. It is no attempt, and waits this long.
    waits_s: float | None = None
    is_turn: bool = False  # under a limit, which may have room earlier
    tls_fault: str = ""
    tls_policy: str = ""
    # The delay steps between attempts that the shaping rules set for the destination; () for all.
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


Outcome = Delivered | Deferred | Bounced
