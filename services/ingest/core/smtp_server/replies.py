"""The SMTP replies of both doors, except the replies about violated rules."""

from __future__ import annotations

from typing import Final

from services.ingest.core.smtp_server.connection_limiter import LimitExceeded
from shared.smtp.reply import Reply

OK: Final = Reply(250, "2.0.0", "Ok")
SENDER_OK: Final = Reply(250, "2.1.0", "Ok")
RECIPIENT_OK: Final = Reply(250, "2.1.5", "Ok")
GO: Final = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
TLS: Final = Reply(220, "2.0.0", "Ready to start TLS")
WELCOME: Final = Reply(235, "2.7.0", "Authentication successful")
WRONG: Final = Reply(535, "5.7.8", "Authentication credentials invalid")
BUSY: Final = Reply(454, "4.7.0", "Too many logins at once; try again later")
LOCKED: Final = Reply(421, "4.7.0", "Too many failed logins from your address; try again later")
FOREIGN: Final = Reply(535, "5.7.1", "Your address is not among those registered for this client")
GONE: Final = Reply(550, "5.7.1", "This client is no longer registered")
REMOVED: Final = Reply(525, "5.7.13", "This client was removed; no mail is taken from it")
TOO_FAST: Final = Reply(450, "4.7.1", "More messages a minute than agreed; try again later")
LATER: Final = Reply(451, "4.3.0", "The message could not be stored; try again later")
FULL: Final = Reply(451, "4.3.1", "Too much mail at once; try again later")
MANY: Final = Reply(421, "4.3.2", "Too many connections; try again later")
MANY_OF_ADDRESS: Final = Reply(
    421, "4.7.0", "Too many connections from your address; close some, or try again later"
)
MANY_A_MINUTE: Final = Reply(
    421, "4.7.0", "Too many new connections a minute from your address; keep them open for longer"
)
MANY_OF_CLIENT: Final = Reply(
    421, "4.7.0", "Too many connections of this client at once; close some, or use fewer"
)
MANY_ERRORS: Final = Reply(
    421, "4.7.0", "Too many refused commands a minute from your address; try again later"
)
MANY_ERRORS_OF_CLIENT: Final = Reply(
    421, "4.7.0", "Too many refused commands a minute of this client; try again later"
)
MANY_BEFORE_LOGIN: Final = Reply(
    421, "4.7.0", "Too many connections that have not logged in; try again later"
)
MANY_OF_ADDRESS_BEFORE_LOGIN: Final = Reply(
    421,
    "4.7.0",
    "Too many connections from your address that have not logged in; log in, or close some",
)
# Maps an exceeded limit to its reply.
LIMIT_REPLIES: Final = {
    LimitExceeded.ALL: MANY,
    LimitExceeded.ADDRESS: MANY_OF_ADDRESS,
    LimitExceeded.MINUTE: MANY_A_MINUTE,
    LimitExceeded.ADDRESS_ERRORS: MANY_ERRORS,
    LimitExceeded.CLIENT_ERRORS: MANY_ERRORS_OF_CLIENT,
    LimitExceeded.BEFORE_LOGIN: MANY_BEFORE_LOGIN,
    LimitExceeded.ADDRESS_BEFORE_LOGIN: MANY_OF_ADDRESS_BEFORE_LOGIN,
}
IDLE: Final = Reply(421, "4.4.2", "Idle for too long")
NO_LOGIN: Final = Reply(421, "4.7.0", "No login in time")
SLOW: Final = Reply(421, "4.4.2", "Too slow")
CRASHED: Final = Reply(421, "4.3.0", "Internal error")
CLOSING: Final = Reply(421, "4.3.2", "The service is restarting; connect again")
