"""Loads the rules that are shipped as files."""

from __future__ import annotations

import importlib.resources

from services.deliver.core.attempt.reply_rules import parse_rules
from services.deliver.core.attempt.verdicts import OutcomeRules


def load_outcome_rules() -> OutcomeRules:
    """The outcome rules with the classes of replies.toml. Raises ValueError naming the bad row."""
    text = importlib.resources.files("services.deliver.rules").joinpath("replies.toml")
    return OutcomeRules(parse_rules(text.read_text(encoding="utf-8")))
