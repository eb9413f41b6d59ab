"""Loads the rules that are shipped with the code."""

from __future__ import annotations

import importlib.resources
from functools import cache
from typing import Final

from shared.responses.replies.reply_rules import load_reply_rules
from shared.responses.rules.model import (
    Rules,
    parse_formats,
    parse_message_rules,
    parse_original,
    parse_reason_rules,
)

# The files of rules on whole messages, without their suffix, by the name of their rules.
MESSAGE_FILES: Final = {
    "auto_replies": ("auto_replies", "auto_replies_text"),
    "bounces": ("bounces_notices", "bounces", "bounces_rare"),
    "bounces_null_path": ("bounces_null_path",),
    "challenges": ("challenges",),
    "complaints": ("complaints",),
    "unsubscribes": ("unsubscribes",),
}
# Tried in this order.
FORMAT_FILES: Final = ("formats", "formats_rare", "formats_more")
REASON_FILES: Final = ("reasons", "reasons_languages", "reasons_fallback")


@cache
def load_rules() -> Rules:
    """Load every rule. Raises RuleError, or ValueError for replies.toml; the text is one line."""
    return Rules(
        replies=load_reply_rules(),
        reasons=tuple(
            reason
            for name in REASON_FILES
            for reason in parse_reason_rules(f"{name}.toml", rules_text(name))
        ),
        formats=tuple(
            layout
            for name in FORMAT_FILES
            for layout in parse_formats(f"{name}.toml", rules_text(name))
        ),
        original=parse_original("formats.toml", rules_text("formats")),
        messages={
            kind: tuple(
                rule
                for name in names
                for rule in parse_message_rules(f"{name}.toml", rules_text(name))
            )
            for kind, names in MESSAGE_FILES.items()
        },
    )


def rules_text(name: str) -> str:
    """The text of a file of rules."""
    file = importlib.resources.files("shared.responses.rules").joinpath(f"{name}.toml")
    return file.read_text(encoding="utf-8")
