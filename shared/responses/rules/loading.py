"""Loads the rules that are shipped with the code."""

from __future__ import annotations

import importlib.resources
from typing import Final

from shared.responses.replies.loading import load_reply_rules
from shared.responses.rules.model import (
    Rules,
    parse_formats,
    parse_message_rules,
    parse_original,
    parse_reason_rules,
)

# The files of rules on whole messages, without their suffix.
MESSAGE_FILES: Final = ("auto_replies", "bounces", "challenges", "complaints", "unsubscribes")
# Tried in this order.
FORMAT_FILES: Final = ("formats", "formats_rare")


def load_rules() -> Rules:
    """Load every rule. Raises RuleError, or ValueError for replies.toml; the text is one line."""
    return Rules(
        replies=load_reply_rules(),
        reasons=parse_reason_rules("reasons.toml", rules_text("reasons")),
        formats=tuple(
            layout
            for name in FORMAT_FILES
            for layout in parse_formats(f"{name}.toml", rules_text(name))
        ),
        original=parse_original("formats.toml", rules_text("formats")),
        messages={
            name: parse_message_rules(f"{name}.toml", rules_text(name)) for name in MESSAGE_FILES
        },
    )


def rules_text(name: str) -> str:
    """The text of a file of rules."""
    file = importlib.resources.files("shared.responses.rules").joinpath(f"{name}.toml")
    return file.read_text(encoding="utf-8")
