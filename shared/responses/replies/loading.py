"""Loads the rules on refusals that are shipped as a file."""

from __future__ import annotations

import importlib.resources
from functools import cache

from shared.responses.replies.reply_rules import ReplyRule, parse_rules


@cache
def load_reply_rules() -> tuple[ReplyRule, ...]:
    """The rules of replies.toml. Raises ValueError naming the row that is wrong."""
    file = importlib.resources.files("shared.responses.replies").joinpath("replies.toml")
    return parse_rules(file.read_text(encoding="utf-8"))
