"""Every rule matches its example and leaves its counter-example; no rule is slow."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from shared.responses.mime.parts import read_message
from shared.responses.replies.literals import Search, required_literals
from shared.responses.replies.refusal_text import read_refusal
from shared.responses.reports.free_text import find_format, read_layout
from shared.responses.returned import View, matches
from shared.responses.rules.loading import MESSAGE_FILES
from shared.responses.rules.model import Format, LineSearch, MessageRule, ReasonRule
from shared.responses.understood import ResponseKind
from shared.smtp.events import Stage
from shared.smtp.reply import make_reply
from tests.support.response_rules import RULES

MESSAGES: Final = [(file, rule) for file in MESSAGE_FILES for rule in RULES.messages[file]]
# See the head of rules/bounces.toml.
REPORT_KINDS: Final = {"bounce", "delayed", "delivered", "notice", "weak"}
CODED: Final = re.compile(r"[45]\d\d ")


def view(text: str) -> View:
    return View(read_message(text.lstrip("\n").encode()))


def applies(rule: ReasonRule, text: str) -> bool:
    code = int(text[:3]) if CODED.match(text) else 550
    reply = make_reply(code, text[4:] if CODED.match(text) else text)
    stage = next(iter(sorted(rule.stages)), Stage.RCPT)
    return rule.applies(stage, read_refusal(reply))


def searches() -> list[Any]:
    found: list[Search | LineSearch | None] = [RULES.original]
    for _, message in MESSAGES:
        found += [message.subject, message.sender, message.text, message.unless]
        found += [search for _, search in message.header]
    for reason in RULES.reasons:
        found += [reason.text, reason.unless]
    found += [reply.text for reply in RULES.replies]
    return [pattern for search in found if search for pattern in search.patterns]


@pytest.mark.parametrize(("file", "rule"), MESSAGES, ids=lambda one: getattr(one, "name", one))
def test_a_rule_on_messages_matches_its_example_only(file: str, rule: MessageRule) -> None:
    assert matches(rule, view(rule.example))
    assert not matches(rule, view(rule.counter))


@pytest.mark.parametrize(("file", "rule"), MESSAGES, ids=lambda one: getattr(one, "name", one))
def test_the_kind_of_a_rule_on_messages_is_known(file: str, rule: MessageRule) -> None:
    kinds = REPORT_KINDS if file.startswith("bounces") else set(ResponseKind)
    assert rule.kind in kinds
    assert rule.kind not in ("hard", "soft")


@pytest.mark.parametrize("rule", RULES.reasons, ids=lambda rule: str(rule.name))
def test_a_reason_matches_its_example_only(rule: ReasonRule) -> None:
    assert applies(rule, rule.example)
    assert not applies(rule, rule.counter)


@pytest.mark.parametrize("layout", RULES.formats, ids=lambda layout: str(layout.name))
def test_a_layout_finds_the_recipients_of_its_example(layout: Format) -> None:
    assert find_format(RULES.formats, layout.example.lower()) is layout
    found = read_layout(layout, layout.example, ())
    assert tuple(one.address for one in found) == layout.recipients


@pytest.mark.parametrize("layout", RULES.formats, ids=lambda layout: str(layout.name))
def test_a_layout_is_not_found_in_its_counter_example(layout: Format) -> None:
    assert find_format([layout], layout.counter.lower()) is None


def test_names_are_unique() -> None:
    for rules in (RULES.reasons, RULES.formats, [rule for _, rule in MESSAGES]):
        names = [rule.name for rule in rules]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("pattern", searches(), ids=lambda pattern: str(pattern.pattern)[:40])
def test_no_gap_is_without_a_limit(pattern: re.Pattern[str]) -> None:
    assert not re.search(r"(?<!\\)\.[*+]", pattern.pattern)
    assert not re.search(r"\)[*+](?!\?)", pattern.pattern.replace("([-+._=][^@\\s]{0,64})", ""))


@pytest.mark.parametrize("pattern", searches(), ids=lambda pattern: str(pattern.pattern)[:40])
def test_patterns_are_in_lower_case(pattern: re.Pattern[str]) -> None:
    without_classes = re.sub(r"\\[A-Za-z]", "", pattern.pattern)
    assert without_classes == without_classes.lower()


@pytest.mark.parametrize("pattern", searches(), ids=lambda pattern: str(pattern.pattern)[:40])
def test_whatever_a_pattern_matches_holds_one_of_its_literals(pattern: re.Pattern[str]) -> None:
    literals = required_literals(pattern)
    texts = [rule.example.lower() for _, rule in MESSAGES]
    texts += [read_refusal(make_reply(550, rule.example)).words for rule in RULES.reasons]
    texts += [read_refusal(make_reply(550, rule.example)).words for rule in RULES.replies]
    for text in texts:
        if literals and pattern.search(text):
            assert any(literal in text for literal in literals)
