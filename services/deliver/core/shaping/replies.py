"""Decides which replies slow down, suspend or resume mail, and for how long. Pure.

Like the rules for refusals, a rule matches the words of a reply after the host names and addresses
were removed (shared/responses/replies/refusal_text.py). Only replies of servers are matched, never
a reason that the deliver service itself writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from msgspec import Struct

from services.deliver.core.shaping.keys import Scope
from services.deliver.core.shaping.suspensions import Action
from shared.responses.replies.refusal_text import Refusal, read_refusal
from shared.smtp.events import Stage
from shared.smtp.reply import Reply, make_reply


class ShapingReply(Struct, frozen=True):
    """One `[[reply]]` of a shaping file. If `provider` is "", the rule applies to all providers."""

    action: Action
    scope: Scope
    for_s: float
    provider: str
    codes: tuple[int, ...]
    status: tuple[str, ...]
    text: re.Pattern[str] | None
    stages: frozenset[Stage]
    example: str
    counter: str
    origin: str
    is_shipped: bool = False

    def applies(self, stage: Stage, reply: Reply, refusal: Refusal) -> bool:
        """Return whether the rule matches this reply."""
        if self.stages and stage not in self.stages:
            return False
        if self.codes and not any(str(reply.code).startswith(str(code)) for code in self.codes):
            return False
        if self.status and not any(_is_below(refusal.detail, each) for each in self.status):
            return False
        return self.text is None or self.text.search(refusal.words) is not None


def _is_below(detail: str, prefix: str) -> bool:
    return detail.startswith(prefix) if prefix.endswith(".") else detail == prefix


class ReplyRules:
    """The rules in their order; the first matching rule counts."""

    def __init__(self, rules: Iterable[ShapingReply]) -> None:
        self._all = tuple(rules)
        self._by_provider: dict[str, tuple[ShapingReply, ...]] = {}

    def match(
        self, provider: str, stage: Stage, reply: Reply, *, is_override: bool = False
    ) -> ShapingReply | None:
        """Return the rule for this reply of a provider; None if no rule matches.

        `is_override` is True if an operator has named the server. Shipped rules are made for the
        internet and do not apply to such a server.
        """
        rules = self._of(provider)
        if is_override:
            rules = [rule for rule in rules if not rule.is_shipped]
        if not rules:
            return None
        refusal = read_refusal(reply)
        return next((rule for rule in rules if rule.applies(stage, reply, refusal)), None)

    def _of(self, provider: str) -> Sequence[ShapingReply]:
        found = self._by_provider.get(provider)
        if found is None:
            found = tuple(rule for rule in self._all if rule.provider in ("", provider))
            self._by_provider[provider] = found
        return found


def read_example(text: str) -> Reply:
    """Return the reply that an example or counter-example describes. Raises ValueError."""
    code, _, rest = text.partition(" ")
    if len(code) != 3 or not code.isdigit():
        raise ValueError(f"found {text!r}, expected a reply such as 421 4.7.0 Try again later")
    return make_reply(int(code), rest)


def example_fault(rule: ShapingReply) -> str:
    """Return the fault of a rule's examples; "" if both examples are right."""
    stage = next(iter(sorted(rule.stages)), Stage.RCPT)
    for text, is_wanted in ((rule.example, True), (rule.counter, False)):
        reply = read_example(text)
        if rule.applies(stage, reply, read_refusal(reply)) is not is_wanted:
            word = "does not match its example" if is_wanted else "matches its counter"
            return f"the rule {word} {text!r}"
    return ""
