"""The replies of the bounce door's policy, but for refused recipients (recipients.py)."""

from __future__ import annotations

from typing import Final

from shared.smtp.reply import Reply

TOO_FAST: Final = Reply(450, "4.7.1", "Too many messages a minute from your address")
TOO_FAST_FOR_CLIENT: Final = Reply(450, "4.7.1", "Too much mail a minute for this domain")
FULL: Final = Reply(451, "4.3.1", "Too much mail at once; try again later")
# In the middle of a message only the end of the connection can stop it.
FULL_WHILE_RECEIVING: Final = Reply(421, "4.3.1", "Too much mail at once; try again later")


def accepted_reply(return_id: str) -> Reply:
    """The 250 of a message that Kafka has."""
    return Reply(250, "2.0.0", f"Ok: queued as {return_id}")
