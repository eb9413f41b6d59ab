"""The class of a server's refusal, and whether it is final. Pure.

Owns: the mapping from stage and reply to permanence and bounce class, by the rules in
rules/replies.toml. Does not own: the outcome (verdicts.py). A 5xx to the recipient or the content
ends the message. A 5xx before any recipient was named concerns us, not the recipient: in answer to
the connection or EHLO it defers; in answer to MAIL it bounces as policy and never counts against a
recipient. Anything unknown defers.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from shared.smtp.events import Stage
from shared.smtp.reply import Reply

HARD: Final = "hard"
SOFT: Final = "soft"
POLICY: Final = "policy"
CONTENT: Final = "content"
NETWORK: Final = "network"
CLASSES: Final = frozenset({HARD, SOFT, POLICY, CONTENT, NETWORK, "authentication"})

# The class of a refusal that no rule matches, by the step it answers.
_DEFAULT_PERMANENT: Final = {Stage.RCPT: HARD, Stage.CONTENT: CONTENT, Stage.DATA: POLICY}
# RFC 5321, 4.2.3: 552 is about storage; 554 is unspecific, so it is not held against the recipient.
_DEFAULT_BY_CODE: Final = {
    (Stage.RCPT, 552): SOFT,
    (Stage.CONTENT, 552): SOFT,
    (Stage.RCPT, 554): POLICY,
}
_ABOUT_US: Final = frozenset({Stage.CONNECT, Stage.EHLO, Stage.MAIL})


class ReplyRule(Struct, frozen=True):
    """One row of rules/replies.toml."""

    bounce_class: str
    status: tuple[str, ...]
    text: re.Pattern[str] | None
    stages: frozenset[Stage]
    example: str
    counter: str

    def matches(self, stage: Stage, reply: Reply) -> bool:
        """Whether this row applies to the answer."""
        if self.stages and stage not in self.stages:
            return False
        if self.status:
            detail = reply.enhanced[2:]
            return any(
                detail.startswith(prefix) if prefix.endswith(".") else detail == prefix
                for prefix in self.status
            )
        return self.text is not None and self.text.search(reply.text) is not None


class Meaning(Struct, frozen=True):
    """The meaning of an answer: whether it is final, and its class."""

    is_permanent: bool
    bounce_class: str


def parse_rules(text: str) -> tuple[ReplyRule, ...]:
    """Read rules/replies.toml. Raises ValueError naming the row that is wrong."""
    rows: list[dict[str, Any]] = tomllib.loads(text)["rule"]
    return tuple(_parse_rule(number, row) for number, row in enumerate(rows, 1))


def _parse_rule(number: int, row: dict[str, Any]) -> ReplyRule:
    if row["class"] not in CLASSES or ("status" in row) == ("text" in row):
        raise ValueError(f"replies.toml: rule {number}: class, or one of status and text")
    return ReplyRule(
        bounce_class=row["class"],
        status=tuple(row.get("status", ())),
        text=re.compile(row["text"], re.IGNORECASE) if "text" in row else None,
        stages=frozenset(Stage(stage) for stage in row.get("stages", ())),
        example=row["example"],
        counter=row["counter"],
    )


def classify(rules: Sequence[ReplyRule], stage: Stage, reply: Reply) -> Meaning:
    """The meaning of a refusal that answered `stage`."""
    found = next((rule.bounce_class for rule in rules if rule.matches(stage, reply)), None)
    if not reply.is_permanent:
        return Meaning(is_permanent=False, bounce_class=found or SOFT)
    if stage in _ABOUT_US:
        # Never the recipient's fault, whatever the text says.
        bounce_class = POLICY if found in (None, HARD, SOFT) else found
        return Meaning(is_permanent=stage is Stage.MAIL, bounce_class=bounce_class or POLICY)
    default = _DEFAULT_BY_CODE.get((stage, reply.code)) or _DEFAULT_PERMANENT.get(stage, POLICY)
    return Meaning(True, found or default)
