"""What one attempt came to, as a value. A remote answer is never an exception.

Owns: the three outcomes. Does not own: how a reply becomes one (classify.py, attempt.py), what
follows from it (plan.py).

`dispatched`: a destination server answered our MAIL or RCPT command, with anything; that is
what is billed. `in_doubt`: the content was sent to its end and no answer came, so the server
may hold a copy. `bounce_class` is one of hard, soft, policy, content, authentication, network.
`reply` is the server's answer as it stood ("" where there was none), `enhanced` its status of
RFC 3463 ("" where it gave none), `site` the name of the destination's site, `source` the local
address, `tls` the protocol version ("" for a plain connection).
"""

from __future__ import annotations

from msgspec import Struct


class Delivered(Struct, frozen=True, tag=True):
    """The destination server took the message."""

    reply: str
    enhanced: str
    site: str
    source: str
    tls: str


class Deferred(Struct, frozen=True, tag=True):
    """Not now; the message is to be tried again."""

    reply: str
    enhanced: str
    bounce_class: str
    reason: str
    site: str
    source: str
    tls: str
    dispatched: bool
    in_doubt: bool = False


class Bounced(Struct, frozen=True, tag=True):
    """Never; the message is not to be tried again."""

    reply: str
    enhanced: str
    bounce_class: str
    reason: str
    site: str
    source: str
    tls: str
    dispatched: bool
    in_doubt: bool = False


Outcome = Delivered | Deferred | Bounced
