"""Decides the outcome of every attempt from SMTP replies, lost connections and DNS results. Pure.

Owns: every verdict on a message that was attempted, and the rule that decides whether the message
counts as dispatched and is billed. Does not own: the class of a server's refusal (reply_rules.py),
the steps that follow an outcome (plan.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from services.deliver.core.attempt.results import (
    Bounced,
    Broken,
    Busy,
    ConnectFault,
    ConnectionInfo,
    Deferred,
    Delivered,
    NoConnection,
    NoLogin,
    NoRoute,
    NoSource,
    Outcome,
    Refusal,
    TransactionResult,
)
from services.deliver.core.routing.sites import NoDomain, NoServer, NullMx, Unresolved
from shared.responses.replies.reply_rules import (
    AUTHENTICATION,
    CONTENT,
    HARD,
    NETWORK,
    ReplyRule,
    classify,
)
from shared.smtp.events import Finished, Stage
from shared.smtp.extensions import Unsendable
from shared.smtp.remote_text import clean_text
from shared.smtp.reply import Reply

# An event contains only this number of characters of a server's answer, because some servers send
# very long texts.
MAX_REPLY_CHARACTERS: Final = 500
_CONGESTION: Final = "4.4.5"  # RFC 3463, 3.5
_NO_ROUTE: Final = "5.4.4"
_NO_LOGIN: Final = "4.7.0"
_NO_TLS: Final = "4.7.5"  # RFC 3463, 3.8: cryptographic failure.
# The status codes are from RFC 3463, 3.4 and 3.7; only 5.6.7 is from RFC 6531.
_UNSENDABLE: Final = {
    Unsendable.SENDER: "5.6.7",
    Unsendable.RECIPIENT: "5.6.7",
    Unsendable.SMTPUTF8: "5.6.7",
    Unsendable.EIGHT_BIT_HEADER: "5.6.7",
    Unsendable.TOO_LARGE: "5.3.4",
    Unsendable.EIGHT_BIT: "5.6.3",
    Unsendable.SIGNED_PARTS: "5.6.3",
    Unsendable.NOT_CONVERTIBLE: "5.6.3",
}
# Replies to a client that should have logged in (RFC 4954, 6).
_LOGIN_WANTED_CODES: Final = frozenset({530, 534, 535, 538})
# Replies to a client that should have started TLS (RFC 3207, 4; RFC 5248, 2.4).
_TLS_WANTED_CODE: Final = 530
_TLS_WANTED_STATUS: Final = frozenset({"5.7.10", "5.7.11"})
_TLS_WANTED_WORDS: Final = re.compile(r"\b(STARTTLS|TLS|encrypt(ed|ion)?)\b", re.IGNORECASE)


class OutcomeRules:
    """Maps the result of a transaction or of connecting to the outcome for the message."""

    def __init__(self, rules: Sequence[ReplyRule]) -> None:
        self._rules = rules

    def transaction(
        self, result: TransactionResult, was_answered: bool, where: ConnectionInfo
    ) -> Outcome:
        """Return the outcome of a transaction.

        `was_answered` is True if MAIL or RCPT was answered in this transaction or in an earlier
        transaction of the same attempt.
        """
        match result:
            case Finished(stage, reply):
                # MAIL is the first command. After any answer to MAIL, the message counts as
                # dispatched.
                return answered(self._rules, stage, reply, True, where)
            case Broken(reason=reason, in_doubt=in_doubt):
                return unanswered(reason, was_answered, in_doubt, where)
            case Unsendable():
                return _without_server(_UNSENDABLE[result], CONTENT, result.value, where)

    def no_connection(self, fault: ConnectFault, was_answered: bool, site: str) -> Outcome:
        """Return the outcome of a message that got no connection to its site."""
        where = ConnectionInfo(site)
        match fault:
            case Refusal(stage, reply):
                return answered(self._rules, stage, reply, was_answered, where)
            case NoConnection(reason, tls_policy, tls_fault):
                where = ConnectionInfo(site, tls_fault=tls_fault, tls_policy=tls_policy)
                enhanced = _NO_TLS if tls_fault else ""
                text = f"No connection: {reason}"
                return unanswered(text, was_answered, False, where, enhanced=enhanced)
            case NoSource(reason):
                return unanswered(f"No source address: {reason}", was_answered, False, where)
            case NoRoute(reason):
                text = f"No mail server of the domain can be used: {reason}"
                found = _without_server(_NO_ROUTE, HARD, text, where)
                return replace(found, dispatched=was_answered)
            case NoLogin(reason, waits_s, reply):
                text = f"The smart host does not let us send mail: {reason}"
                wait = None if was_answered else waits_s
                no_login = unanswered(
                    text, was_answered, False, where, reply=reply, enhanced=_NO_LOGIN
                )
                return replace(no_login, bounce_class=AUTHENTICATION, waits_s=wait)
            case Busy(delay_s, reason, is_turn):
                busy = unanswered(reason, was_answered, False, where, enhanced=_CONGESTION)
                return busy if was_answered else replace(busy, waits_s=delay_s, is_turn=is_turn)


def is_answer(result: TransactionResult) -> bool:
    """Return whether the server answered MAIL or RCPT."""
    if isinstance(result, Finished):
        return result.stage is not Stage.RSET
    return isinstance(result, Broken) and result.answered


def answered(
    rules: Sequence[ReplyRule], stage: Stage, reply: Reply, dispatched: bool, where: ConnectionInfo
) -> Outcome:
    """Return the outcome for a server's answer at this stage of a transaction."""
    text = str(reply)[:MAX_REPLY_CHARACTERS]
    if stage is Stage.CONTENT and reply.is_positive:
        return Delivered(
            text,
            reply.enhanced,
            where.site,
            where.source,
            where.tls,
            where.tls_fault,
            where.tls_policy,
        )
    if where.tls_fault and wants_tls(reply):
        # The server refuses only this connection, and TLS may work at the next attempt.
        reason = f"TLS failed ({where.tls_fault}), and the server requires it: {text}"
        return unanswered(reason, dispatched, False, where, reply=text, enhanced=reply.enhanced)
    if where.has_login and wants_login(reply):
        # The server may have ended our login, so the recipient is not the reason of the refusal.
        reason = f"The smart host requires another login: {text}"
        found = unanswered(reason, dispatched, False, where, reply=text, enhanced=reply.enhanced)
        return replace(found, bounce_class=AUTHENTICATION)
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
        tls_fault=where.tls_fault,
        tls_policy=where.tls_policy,
    )


def wants_tls(reply: Reply) -> bool:
    """Return whether the server refuses to continue without TLS."""
    return reply.is_permanent and (
        reply.code == _TLS_WANTED_CODE
        or reply.enhanced in _TLS_WANTED_STATUS
        or _TLS_WANTED_WORDS.search(reply.text) is not None
    )


def wants_login(reply: Reply) -> bool:
    """Return True if the server requires a login or no longer accepts the login in use."""
    return reply.code in _LOGIN_WANTED_CODES


def unanswered(
    reason: str,
    dispatched: bool,
    in_doubt: bool,
    where: ConnectionInfo,
    *,
    reply: str = "",
    enhanced: str = "",
) -> Deferred:
    """Return the outcome if the connection broke, timed out or could not be opened."""
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
        tls_fault=where.tls_fault,
        tls_policy=where.tls_policy,
    )


def after_fault(error: BaseException, outcome: Outcome | None) -> Outcome:
    """Return the outcome of an attempt that ended with a fault of our own code.

    If the outcome was already known, it is returned without the server's text. Otherwise the
    message is deferred.
    """
    reason = f"The attempt failed with an internal error ({type(error).__name__})"
    match outcome:
        case None:
            return Deferred("", "4.3.0", NETWORK, reason, "", "", "", dispatched=False)
        case Delivered():
            return replace(outcome, reply="", tls_fault="")
        case Deferred() | Bounced():
            return replace(outcome, reply="", reason=reason, tls_fault="")


def unroutable(domain: str, resolution: NullMx | NoDomain | NoServer | Unresolved) -> Outcome:
    """Return the outcome for a domain that has no server to connect to.

    A failed look-up never bounces a message.
    """
    match resolution:
        case NullMx():
            reason = f"{domain} accepts no mail (null MX)"
            return _without_server("5.1.10", HARD, reason, ConnectionInfo())
        case NoDomain():
            return _without_server("5.1.2", HARD, f"{domain} does not exist", ConnectionInfo())
        case NoServer():
            reason = f"{domain} has no mail server: no MX, A or AAAA record"
            return _without_server("5.1.2", HARD, reason, ConnectionInfo())
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
        tls_fault=where.tls_fault,
        tls_policy=where.tls_policy,
    )
