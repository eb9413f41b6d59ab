"""A faulty rules file is one clear line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.responses.replies.reply_rules import parse_rules
from shared.responses.rules.loading import (
    MESSAGE_FILES,
    RuleError,
    load_rules,
    parse_formats,
    parse_message_rules,
    parse_original,
    parse_reason_rules,
)

RULE = '[[rule]]\nname = "a"\nkind = "reply"\nexample = ""\ncounter = ""\n'
REASON = '[[reason]]\nname = "a"\nkind = "soft"\nexample = ""\ncounter = ""\n'
FORMAT = '[[format]]\nname = "a"\nexample = ""\nrecipients = []\ncounter = ""\nmarks = ["m"]\n'


@pytest.mark.parametrize(
    ("parse", "text", "fault"),
    [
        (parse_message_rules, "rule = [", "x.toml: not TOML: "),
        (parse_message_rules, "", "x.toml: no [[rule]] in it"),
        (parse_message_rules, RULE, "x.toml: rule 'a': needs header, subject, sender or text"),
        (
            parse_message_rules,
            RULE + 'subject = "("\n',
            "x.toml: rule 'a': subject: not a regular expression: ",
        ),
        (
            parse_message_rules,
            RULE + 'header = { to = "(" }\n',
            "x.toml: rule 'a': header.to: not a regular expression: ",
        ),
        (parse_message_rules, RULE + "colour = 1\n", "x.toml: rule: Object contains unknown field"),
        (parse_message_rules, "[[rule]]\nname = 1\n", "x.toml: rule: Expected `str`, got `int`"),
        (parse_reason_rules, REASON, "x.toml: reason 'a': needs status or text"),
        (
            parse_reason_rules,
            REASON.replace("soft", "hot") + 'text = "a"\n',
            "x.toml: reason 'a': 'hot' is not a valid ResponseKind",
        ),
        (
            parse_reason_rules,
            REASON + 'text = "a"\nstages = ["late"]\n',
            "x.toml: reason 'a': 'late' is not a valid Stage",
        ),
        (
            parse_formats,
            FORMAT + 'recipient = ["no group"]\n',
            "x.toml: format 'a': needs marks, and a recipient with a group",
        ),
        (
            parse_formats,
            FORMAT + "recipient = []\n",
            "x.toml: format 'a': needs marks, and a recipient with a group",
        ),
        (parse_original, 'original = ["("]', "x.toml: original: not a regular expression: "),
    ],
)
def test_a_fault_names_the_file_the_rule_and_what_is_expected(
    parse: Callable[[str, str], object], text: str, fault: str
) -> None:
    with pytest.raises(RuleError) as raised:
        parse("x.toml", text)
    assert str(raised.value).startswith(fault)
    assert "\n" not in str(raised.value)


def test_a_fault_of_the_rules_on_replies_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"replies\.toml: rule 1: class"):
        parse_rules('[[rule]]\nclass = "odd"\ntext = "a"\nexample = ""\ncounter = ""\n')


def test_every_shipped_file_is_loaded() -> None:
    rules = load_rules()
    assert set(rules.messages) == set(MESSAGE_FILES)
    assert all((rules.replies, rules.reasons, rules.formats, *rules.messages.values()))
