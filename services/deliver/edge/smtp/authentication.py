"""The AUTH dialog with a smart host (RFC 4954): PLAIN (RFC 4616) if it is offered, else LOGIN.

LOGIN has no standard. Servers ask twice with 334: first for the user, then for the password.
Servers without support for initial responses ask for the user even if the AUTH command contains the
user. So our AUTH command does not contain the user, and the client sends each answer only after the
question. The password is sent only in answer to the second question, and not if the second question
asks for the user again. If a server asks a further question, the client ends the dialog with `*`
(RFC 4954, 4). So the server does not read a later command as an answer.

Does not own: the choice of the login, the reaction to the reply (logins.py). Guarantees: the result
has only the code and the status of the server's reply, because the text of the reply may repeat the
password.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import aiosmtplib

from services.deliver.core.attempt.results import SERVICE_NOT_READY
from services.deliver.core.routing.logins import Login
from services.deliver.edge.smtp.handshake import REPLY_CODES
from shared.smtp.extensions import parse_extensions
from shared.smtp.reply import Reply, make_reply

_CONTINUE: Final = 334
# RFC 5321, 4.5.3.1.4: the largest number of octets in a command line, without the line end. A
# longer initial response is sent when the server asks for it (RFC 4954, 4).
_MAX_COMMAND_BYTES: Final = 510
_CANCEL: Final = b"*"
_CANCEL_S: Final = 5.0
# A server's question for the user name contains one of these: "Username:", "User Name", "login:".
_USER_WORDS: Final = (b"user", b"login")


async def authenticate(smtp: aiosmtplib.SMTP, login: Login, limit_s: float) -> Reply:
    """Log in, and return the server's reply with a text of our own.

    The server may take `limit_s` for each answer.

    The code is 0 if the server offers neither PLAIN nor LOGIN. Raises ConnectionError if the server
    ends the dialog.
    """
    answer = smtp.last_ehlo_response
    offered = parse_extensions(answer.message if answer is not None else "").auth
    mechanism = next((each for each in ("PLAIN", "LOGIN") if each in offered), "")
    if not mechanism:
        found = ", ".join(offered)[:100] or "no AUTH"
        return Reply(0, "", f"the server offers neither AUTH PLAIN nor LOGIN (found: {found})")
    try:
        code, text = await _talk(smtp, mechanism, login, limit_s)
    except aiosmtplib.SMTPResponseException as error:
        code, text = error.code, error.message
    except aiosmtplib.SMTPException as error:
        raise ConnectionError(f"no reply to AUTH {mechanism} ({type(error).__name__})") from None
    if code not in REPLY_CODES:
        raise ConnectionError(f"the reply to AUTH {mechanism} is not SMTP")
    if code == SERVICE_NOT_READY:
        raise ConnectionError(f"the server answered AUTH {mechanism} with {code}")
    reply = make_reply(code, text)
    said = f"the server answered AUTH {mechanism} with {reply.code} {reply.enhanced}".rstrip()
    return Reply(code, reply.enhanced, said)


async def _talk(
    smtp: aiosmtplib.SMTP, mechanism: str, login: Login, limit_s: float
) -> tuple[int, str]:
    """Send AUTH and answer each question.

    Return the last reply. Its code is 334 if the server asks a further question.
    """
    user, password = login.user.encode(), login.password.encode()
    if mechanism == "PLAIN":
        plain = base64.b64encode(b"\0".join((b"", user, password)))
        first = [b"AUTH", b"PLAIN", plain]
        if len(b" ".join(first)) > _MAX_COMMAND_BYTES:
            first.pop()
        answers: Sequence[bytes] = [plain]  # some servers ask again for this answer
    else:
        first = [b"AUTH", b"LOGIN"]
        answers = [base64.b64encode(each) for each in (user, password)]
    reply = await smtp.execute_command(*first, timeout=limit_s)
    for number, each in enumerate(answers):
        if reply.code != _CONTINUE or (number == 1 and _asks_for_user(reply.message)):
            break
        reply = await smtp.execute_command(each, timeout=limit_s)
    if reply.code == _CONTINUE:
        # The reply to `*` is not used, and the server need not send one.
        with suppress(aiosmtplib.SMTPException):
            await smtp.execute_command(_CANCEL, timeout=min(limit_s, _CANCEL_S))
    return reply.code, reply.message


def _asks_for_user(question: str) -> bool:
    try:
        text = base64.b64decode(question, validate=True).lower()
    except (binascii.Error, ValueError):
        return False
    return any(word in text for word in _USER_WORDS) and b"pass" not in text
