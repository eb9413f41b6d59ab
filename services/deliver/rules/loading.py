"""Loads the rules that are shipped as files."""

from __future__ import annotations

from services.deliver.core.attempt.verdicts import OutcomeRules
from shared.responses.replies.reply_rules import load_reply_rules


def load_outcome_rules() -> OutcomeRules:
    """The outcome rules with the classes of replies.toml. Raises ValueError naming the bad row."""
    return OutcomeRules(load_reply_rules())
