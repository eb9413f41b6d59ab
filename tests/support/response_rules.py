"""The shipped rules on replies and returned mail, loaded once for all modules of a test process.

Loading compiles some hundred patterns. The rules are frozen, so tests may share them.
"""

from __future__ import annotations

from typing import Final

from shared.responses.replies.reply_rules import ReplyRule
from shared.responses.rules.loading import load_rules
from shared.responses.rules.model import Rules

RULES: Final[Rules] = load_rules()
REPLY_RULES: Final[tuple[ReplyRule, ...]] = RULES.replies
