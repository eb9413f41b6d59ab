"""Decides the class of a server's refusal, and whether the refusal is final.

The rules in replies.toml map a stage and a reply to a bounce class. This module owns the use of
these rules, and the decision whether a refusal is final. It does not own the words that the rules
read (refusal_text.py), the outcome of an attempt (the deliver service), and the kind of a returned
message. This module does no I/O.

A 5xx reply to the recipient or the content is final. A 5xx reply before RCPT concerns us, not the
recipient. If this reply answers the connection or EHLO, the message is deferred. If this reply
answers MAIL, the message bounces with the class policy, which is never counted against a recipient.
Any other refusal defers the message. A 5xx reply that no rule recognises is never hard, because a
few hard refusals end all mail to a recipient. A class that is counted against a recipient requires
a reason that a rule recognises.
"""

from __future__ import annotations

import importlib.resources
import re
import tomllib
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from msgspec import Struct

from shared.responses.replies.literals import Search
from shared.responses.replies.refusal_text import Refusal, read_refusal
from shared.smtp.events import Stage
from shared.smtp.reply import Reply

HARD: Final = "hard"
SOFT: Final = "soft"
POLICY: Final = "policy"
CONTENT: Final = "content"
NETWORK: Final = "network"
AUTHENTICATION: Final = "authentication"
CLASSES: Final = frozenset({HARD, SOFT, POLICY, CONTENT, NETWORK, AUTHENTICATION})

# The class of a permanent refusal that no rule matches, by stage. For other stages, the class is
# POLICY.
_DEFAULT_PERMANENT: Final = {Stage.CONTENT: CONTENT}
# RFC 5321, 4.2.3: 552 means exceeded storage.
_DEFAULT_BY_CODE: Final = {(Stage.RCPT, 552): SOFT, (Stage.CONTENT, 552): SOFT}
_ABOUT_US: Final = frozenset({Stage.CONNECT, Stage.EHLO, Stage.MAIL})


class ReplyRule(Struct, frozen=True):
    """One row of replies.toml."""

    bounce_class: str
    status: tuple[str, ...]
    text: Search | None
    stages: frozenset[Stage]
    example: str
    counter: str

    def matches(self, stage: Stage, reply: Reply) -> bool:
        """Return True if this row applies to the refusal."""
        return self.applies(stage, read_refusal(reply))

    def applies(self, stage: Stage, refusal: Refusal) -> bool:
        """Return True if stage, status and text match. Omitted conditions are not checked."""
        if self.stages and stage not in self.stages:
            return False
        if self.status and not has_status(refusal.detail, self.status):
            return False
        return self.text is None or self.text.is_in(refusal.words, refusal.grams)


def has_status(detail: str, prefixes: tuple[str, ...]) -> bool:
    """Return True if the status is in `prefixes`, or begins with a prefix that ends with a dot."""
    if detail in prefixes:
        return True
    found = detail.find(".")
    return found > 0 and detail[: found + 1] in prefixes


class Meaning(Struct, frozen=True):
    """The meaning of a refusal: its bounce class, and whether the refusal is final."""

    is_permanent: bool
    bounce_class: str


def parse_rules(text: str) -> tuple[ReplyRule, ...]:
    """Parse replies.toml. Raises ValueError with the number of the wrong row."""
    rows: list[dict[str, Any]] = tomllib.loads(text)["rule"]
    return tuple(_parse_rule(number, row) for number, row in enumerate(rows, 1))


def _parse_rule(number: int, row: dict[str, Any]) -> ReplyRule:
    if row["class"] not in CLASSES or not ("status" in row or "text" in row):
        raise ValueError(f"replies.toml: rule {number}: class, or neither status nor text")
    return ReplyRule(
        bounce_class=row["class"],
        status=tuple(row.get("status", ())),
        text=_compile(row["text"]) if "text" in row else None,
        stages=frozenset(Stage(stage) for stage in row.get("stages", ())),
        example=row["example"],
        counter=row["counter"],
    )


def _compile(alternatives: str | list[str]) -> Search:
    if isinstance(alternatives, str):
        alternatives = [alternatives]
    return Search([re.compile(one) for one in alternatives])


def classify(rules: Sequence[ReplyRule], stage: Stage, reply: Reply) -> Meaning:
    """Return the meaning of a refusal. `stage` is the step that the reply answers."""
    refusal = read_refusal(reply)
    found = next((rule.bounce_class for rule in rules if rule.applies(stage, refusal)), None)
    if not reply.is_permanent:
        return Meaning(is_permanent=False, bounce_class=found or SOFT)
    if stage in _ABOUT_US:
        # At these stages, the recipient is never the cause, even if the text contains a recipient's
        # address.
        bounce_class = POLICY if found in (None, HARD, SOFT) else found
        return Meaning(is_permanent=stage is Stage.MAIL, bounce_class=bounce_class or POLICY)
    default = _DEFAULT_BY_CODE.get((stage, reply.code)) or _DEFAULT_PERMANENT.get(stage, POLICY)
    return Meaning(True, found or default)


@cache
def load_reply_rules() -> tuple[ReplyRule, ...]:
    """Load replies.toml. Raises ValueError with the number of the wrong row."""
    file = importlib.resources.files("shared.responses.replies").joinpath("replies.toml")
    return parse_rules(file.read_text(encoding="utf-8"))
