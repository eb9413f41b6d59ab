"""Decides the outcome of every attempt: from SMTP replies, lost connections and DNS results. Pure.

Owns: every verdict on a message that was attempted, and what is billed as dispatched. Does not own:
the class of a server's refusal (reply_rules.py), the steps that follow an outcome (plan.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from services.deliver.core.attempt.outcome import Bounced, Deferred, Delivered, Outcome
from services.deliver.core.attempt.reply_rules import CONTENT, HARD, NETWORK, ReplyRule, classify
from services.deliver.core.attempt.results import (
    Broken,
    ConnectFault,
    ConnectionInfo,
    NoConnection,
    Refusal,
    TransactionResult,
)
from services.deliver.core.routing.sites import NoDomain, NullMx, Unresolved
from shared.smtp.client.session import Unsendable
from shared.smtp.events import Finished, Stage
from shared.smtp.remote_text import clean_text
from shared.smtp.reply import Reply

# Events keep this much of a server's answer; some servers send very long texts.
MAX_REPLY_CHARACTERS: Final = 500


# Replies to a client that should have started TLS (RFC 3207, 4; RFC 5248, 2.4).
_TLS_WANTED_CODE: Final = 530
_TLS_WANTED_STATUS: Final = frozenset({"5.7.10", "5.7.11"})
_TLS_WANTED_WORDS: Final = re.compile(r"\b(STARTTLS|TLS|encrypt(ed|ion)?)\b", re.IGNORECASE)


class OutcomeRules:
    """Maps how a transaction or an attempt to connect ended to the outcome for the message."""

    def __init__(self, rules: Sequence[ReplyRule]) -> None:
        self._rules = rules

    def transaction(
        self, result: TransactionResult, was_answered: bool, where: ConnectionInfo
    ) -> Outcome:
        """The outcome of a transaction.

        `was_answered`: MAIL or RCPT was answered, in this transaction or in an earlier one of the
        same attempt.
        """
        match result:
            case Finished(stage, reply):
                # MAIL is the first command: any answer to it counts as dispatched.
                return answered(self._rules, stage, reply, True, where)
            case Broken(reason=reason, in_doubt=in_doubt):
                return unanswered(reason, was_answered, in_doubt, where)
            case Unsendable():
                return _without_server("5.6.7", CONTENT, result.value, where)

    def no_connection(self, fault: ConnectFault, was_answered: bool, site: str) -> Outcome:
        """The outcome of a message that got no connection to its site."""
        where = ConnectionInfo(site)
        match fault:
            case Refusal(stage, reply):
                return answered(self._rules, stage, reply, was_answered, where)
            case NoConnection(reason):
                return unanswered(f"No connection: {reason}", was_answered, False, where)


def is_answer(result: TransactionResult) -> bool:
    """Whether the server answered MAIL or RCPT."""
    match result:
        case Broken(answered=answered):
            return answered
        case Finished(stage):
            return stage is not Stage.RSET
        case _:
            return False


def answered(
    rules: Sequence[ReplyRule], stage: Stage, reply: Reply, dispatched: bool, where: ConnectionInfo
) -> Outcome:
    """Map a server's answer to `stage` to an outcome."""
    text = str(reply)[:MAX_REPLY_CHARACTERS]
    if stage is Stage.CONTENT and reply.is_positive:
        return Delivered(text, reply.enhanced, where.site, where.source, where.tls)
    if where.tls_fault and _wants_tls(reply):
        # The refusal concerns this connection. TLS may work at the next attempt.
        reason = f"TLS failed ({where.tls_fault}), and the server requires it: {text}"
        return unanswered(reason, dispatched, False, where, reply=text, enhanced=reply.enhanced)
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


def _wants_tls(reply: Reply) -> bool:
    return reply.is_permanent and (
        reply.code == _TLS_WANTED_CODE
        or reply.enhanced in _TLS_WANTED_STATUS
        or _TLS_WANTED_WORDS.search(reply.text) is not None
    )


def unanswered(
    reason: str,
    dispatched: bool,
    in_doubt: bool,
    where: ConnectionInfo,
    *,
    reply: str = "",
    enhanced: str = "",
) -> Deferred:
    """The outcome if the connection broke, timed out or could not be opened."""
    return Deferred(
        reply=reply,
        enhanced=enhanced or ("" if dispatched else "4.4.1"),
        bounce_class=NETWORK,
        reason=clean_text(reason),
        site=where.site,
        source=where.source,
        tls=where.tls,
        dispatched=dispatched,
        in_doubt=in_doubt,
    )


def after_fault(error: BaseException, outcome: Outcome | None) -> Outcome:
    """The outcome of an attempt that ended with a fault of our own code.

    An outcome that was already known stays, without the server's text; unknown means deferred.
    """
    reason = f"The attempt failed with an internal error ({type(error).__name__})"
    match outcome:
        case None:
            return Deferred("", "4.3.0", NETWORK, reason, "", "", "", dispatched=False)
        case Delivered():
            return replace(outcome, reply="")
        case Deferred() | Bounced():
            return replace(outcome, reply="", reason=reason)


def unroutable(domain: str, resolution: NullMx | NoDomain | Unresolved) -> Outcome:
    """The outcome for a domain without a server to connect to. A failing DNS bounces nobody."""
    match resolution:
        case NullMx():
            reason = f"{domain} accepts no mail (null MX)"
            return _without_server("5.1.10", HARD, reason, ConnectionInfo())
        case NoDomain():
            return _without_server("5.1.2", HARD, f"{domain} does not exist", ConnectionInfo())
        case Unresolved(cause):
            reason = clean_text(f"The DNS gave no answer for {domain}: {cause}")
            return Deferred("", "4.4.3", NETWORK, reason, "", "", "", dispatched=False)


def _without_server(
    enhanced: str, bounce_class: str, reason: str, where: ConnectionInfo
) -> Bounced:
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
