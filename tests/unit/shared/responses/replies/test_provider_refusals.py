"""The refusals of large providers and common servers, in their words: tests/golden/replies.

A file is named for the step that is answered and the class of all replies in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from shared.responses.replies.reply_rules import HARD, SOFT, classify
from shared.smtp.events import Stage
from shared.smtp.reply import Reply, make_reply
from tests.support.response_rules import REPLY_RULES

FOLDER: Final = Path(__file__).parents[4] / "golden" / "replies"
REFUSES_US: Final = ("rcpt_policy.txt", "rcpt_authentication.txt")


def lines(name: str) -> list[str]:
    return (FOLDER / name).read_text("utf-8").splitlines()


def reply(line: str) -> Reply:
    return make_reply(int(line[:3]), line[4:])


@pytest.mark.parametrize(
    ("name", "line"),
    [(path.stem, line) for path in sorted(FOLDER.glob("*.txt")) for line in lines(path.name)],
)
def test_a_refusal_of_a_known_server_has_its_class(name: str, line: str) -> None:
    stage, bounce_class = name.split("_")
    assert classify(REPLY_RULES, Stage(stage), reply(line)).bounce_class == bounce_class


@pytest.mark.parametrize("line", [line for name in REFUSES_US for line in lines(name)])
def test_no_refusal_of_us_is_held_against_the_recipient_at_any_step(line: str) -> None:
    for stage in Stage:
        found = classify(REPLY_RULES, stage, make_reply(550, reply(line).text))
        assert found.bounce_class not in (HARD, SOFT)
