"""From what happened on the wire, or in the DNS, to the outcome of an attempt. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from services.deliver.core.classify import CONTENT, HARD, NETWORK, ReplyRule, classify
from services.deliver.core.outcome import Bounced, Deferred, Delivered, Outcome
from services.deliver.core.routing import NoDomain, NullMx, Unresolved
from shared.smtp.events import Stage
from shared.smtp.reply import Reply

# What of a server's answer is kept in events; servers write essays.
MAX_REPLY_CHARACTERS: Final = 500


class Where(Struct, frozen=True):
    """Over which connection: the site, our local address, the TLS version ("" for none)."""

    site: str = ""
    source: str = ""
    tls: str = ""


def answered(
    rules: Sequence[ReplyRule], stage: Stage, reply: Reply, dispatched: bool, where: Where
) -> Outcome:
    """The outcome of a server's answer to `stage`."""
    text = str(reply)[:MAX_REPLY_CHARACTERS]
    if stage is Stage.CONTENT and reply.is_positive:
        return Delivered(text, reply.enhanced, where.site, where.source, where.tls)
    meaning = classify(rules, stage, reply)
    kind = Bounced if meaning.is_permanent else Deferred
    return kind(
        reply=text,
        enhanced=reply.enhanced,
        bounce_class=meaning.bounce_class,
        reason=f"The server answered {stage.value} with {text}",
        site=where.site,
        source=where.source,
        tls=where.tls,
        dispatched=dispatched,
    )


def unanswered(reason: str, dispatched: bool, in_doubt: bool, where: Where) -> Deferred:
    """The outcome of a connection that broke, timed out or could not be had."""
    return Deferred(
        reply="",
        enhanced="" if dispatched else "4.4.1",
        bounce_class=NETWORK,
        reason=reason,
        site=where.site,
        source=where.source,
        tls=where.tls,
        dispatched=dispatched,
        in_doubt=in_doubt,
    )


def unsendable(reason: str, where: Where) -> Bounced:
    """The outcome of a message that this server cannot even be offered."""
    return _without_server("5.6.7", CONTENT, reason, where)


def unroutable(domain: str, resolution: NullMx | NoDomain | Unresolved) -> Outcome:
    """The outcome of a domain without a server to go to. A failing DNS bounces nobody."""
    match resolution:
        case NullMx():
            reason = f"{domain} says that it takes no mail (null MX)"
            return _without_server("5.1.10", HARD, reason, Where())
        case NoDomain():
            return _without_server("5.1.2", HARD, f"{domain} does not exist", Where())
        case Unresolved(cause):
            reason = f"The DNS gave no answer for {domain}: {cause}"
            return Deferred("", "4.4.3", NETWORK, reason, "", "", "", dispatched=False)


def _without_server(enhanced: str, bounce_class: str, reason: str, where: Where) -> Bounced:
    return Bounced(
        reply="",
        enhanced=enhanced,
        bounce_class=bounce_class,
        reason=reason,
        site=where.site,
        source=where.source,
        tls=where.tls,
        dispatched=False,
    )
