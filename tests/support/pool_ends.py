"""The possible ends of transactions and of attempts to connect."""

from __future__ import annotations

from services.deliver.core.attempt.results import Broken, NoConnection, Refusal
from shared.smtp.events import Finished, Stage
from shared.smtp.reply import make_reply

ACCEPTED = Finished(Stage.CONTENT, make_reply(250, "2.0.0 ok"))
LOST = Broken("The connection was lost", answered=False, in_doubt=False)
GOODBYE = Finished(Stage.MAIL, make_reply(421, "4.4.2 idle for too long"))
FAULT = NoConnection("mx:25: refused")
TOO_MANY = Refusal(Stage.CONNECT, make_reply(421, "4.7.0 too many connections"))
