"""The words of a refusal: names are replaced, a status is found, and hostile text takes no time."""

from __future__ import annotations

import re
import time
from typing import Final

import pytest

from services.deliver.core.attempt.results import (
    Bounced,
    Broken,
    Busy,
    ConnectionInfo,
    Deferred,
    NoConnection,
)
from services.deliver.core.attempt.verdicts import OutcomeRules, after_fault, answered, unroutable
from services.deliver.core.routing.sites import NoDomain, NullMx, Unresolved
from shared.responses.replies.refusal_text import MAX_CHARACTERS, read_refusal
from shared.responses.replies.reply_rules import classify
from shared.smtp.events import Stage
from shared.smtp.extensions import Unsendable
from shared.smtp.reply import Reply, make_reply
from tests.support.response_rules import REPLY_RULES

WHERE: Final = ConnectionInfo("mx.example", "192.0.2.1", "")
NO_TLS: Final = ConnectionInfo(
    tls_fault="[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<policy@r.example>: no such user", "{addr}: no such user"),
        ("policy@r.example", "{addr}"),
        ('"a b"@r.example unknown', "{addr} unknown"),
        ("mx.spam.example[192.0.2.1] refused", "{host}[{ip}] refused"),
        ("2001:db8::1 refused", "{ip} refused"),
        ("see https://r.example/spam?ip=192.0.2.1", "see {url}"),
        ("see http://www.spamhaus.org/query/bl?ip=192.0.2.1", "see {blocklist}"),
        ("blocked using zen.spamhaus.org; listed", "blocked using {blocklist}; listed"),
        ("found in rbl.r.example", "found in {blocklist}"),
        ("is_blocked.For help", "is blocked.for help"),
        ("RESOLVER.ADR.ExRecipNotFound; no", "resolver.adr.exrecipnotfound; no"),
        ('no such user "spam"', "no such user {addr}"),
        ("<mx-out>: rejected", "{addr}: rejected"),
        ("this user doesn't and can't", "this user doesn't and can't"),
        ("does not\nexist", "does not exist"),
    ],
)
def test_names_become_markers(text: str, words: str) -> None:
    assert read_refusal(Reply(550, "", text)).words == words


@pytest.mark.parametrize(
    ("code", "text", "detail"),
    [
        (550, "5.1.1 unknown", "1.1"),
        (550, "#5.7.1 no", "7.1"),
        (554, "sorry (#5.1.1)", "1.1"),
        (550, "5.1.1: gone", "1.1"),
        (550, "[5.1.1] gone", "1.1"),
        (553, "Not allowed - 5.7.1 [BL23]", "7.1"),
        (552, "4.2.2 full", "2.2"),
        (550, "5.2.1 disabled (#5.1.1)", "2.1"),
        (550, "192.5.1.1 refused", ""),
        (550, "5.1.1.2 refused", ""),
        (550, "Exim 4.97.1 says no", ""),
        (550, "v5.1.1 says no", ""),
        (550, "no", ""),
    ],
)
def test_a_status_is_found_anywhere_if_the_reply_has_no_regular_one(
    code: int, text: str, detail: str
) -> None:
    assert read_refusal(make_reply(code, text)).detail == detail


@pytest.mark.parametrize(
    "piece",
    [
        *("a", "a@", "<", "<a", "1.", "1.1.1.1", "a.", ":", "0:", '"', "(#5.1.1)", "\n", "_ ", "-"),
        *("user ", "no such ", "{addr} ", "http://", "quota over ", "sender ", "ip ", "\u4e2d"),
    ],
)
def test_hostile_text_takes_no_time(piece: str) -> None:
    text = (piece * 100_000)[:100_000]
    began = time.process_time()
    for stage in Stage:
        classify(REPLY_RULES, stage, Reply(550, "", text))
    assert time.process_time() - began < 2.0


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    text = "x" * MAX_CHARACTERS + " user unknown"
    assert classify(REPLY_RULES, Stage.RCPT, Reply(550, "", text)).bounce_class == "policy"


def test_no_pattern_of_the_table_repeats_a_group() -> None:
    repeated = re.compile(r"(?<!\\)\)[*+{]")
    assert repeated.search("(a+)+")
    patterns = [one.pattern for rule in REPLY_RULES if rule.text for one in rule.text.patterns]
    assert [pattern for pattern in patterns if repeated.search(pattern)] == []


def test_the_patterns_are_in_lower_case_as_the_words_are() -> None:
    escaped = re.compile(r"\\.")
    searched = [one.pattern for rule in REPLY_RULES if rule.text for one in rule.text.patterns]
    patterns = [escaped.sub("", pattern) for pattern in searched]
    assert [pattern for pattern in patterns if pattern != pattern.lower()] == []


def synthetic_reasons() -> list[str]:
    rules = OutcomeRules(REPLY_RULES)
    outcomes = [
        *(rules.transaction(value, True, WHERE) for value in Unsendable),
        rules.transaction(Broken("the connection was lost", True, True), True, WHERE),
        rules.no_connection(NoConnection("timed out"), False, "mx.example"),
        rules.no_connection(NoConnection("the site has no host"), False, "mx.example"),
        rules.no_connection(NoConnection("Connection refused"), False, "mx.example"),
        rules.no_connection(NoConnection("mx.example:25: TimeoutError"), False, "mx.example"),
        answered(REPLY_RULES, Stage.MAIL, make_reply(530, "TLS"), True, NO_TLS),
        rules.no_connection(Busy(3.0), True, "mx.example"),
        after_fault(ValueError("x"), None),
        *(unroutable("r.example", value) for value in (NullMx(), NoDomain(), Unresolved("x"))),
    ]
    return [outcome.reason for outcome in outcomes if isinstance(outcome, Bounced | Deferred)]


@pytest.mark.parametrize("reason", synthetic_reasons())
def test_no_rule_matches_a_reason_of_our_own(reason: str) -> None:
    reply = Reply(550, "", reason)
    assert [r.example for r in REPLY_RULES for stage in Stage if r.matches(stage, reply)] == []
