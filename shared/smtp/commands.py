"""Parses the commands of a server session to events or refusals. This module does no I/O.

This module decides which arguments and parameters are accepted, and owns the replies that refuse
the others. The order of commands is in states.py, and the session in session.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from shared.mail.likely_mistakes import mistake_in_address
from shared.smtp.events import Data, Hello, Mail, Recipient, StartTls
from shared.smtp.extensions import Extensions
from shared.smtp.grammar import PathFault, is_hello_name, parse_path, plain_path
from shared.smtp.reply import Reply
from shared.smtp.server.states import RCPT, READY, State

# The verbs of HTTP requests. They end the session, because an attacker can make a browser connect
# to this server (cross-protocol attack).
_FOREIGN: Final = (
    *("GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "PATCH", "DELETE", "TRACE", "PROPFIND"),
    "PRI",
)
_OPTIONAL: Final = ("EXPN", "BDAT", "TURN", "ETRN", "SEND", "SOML", "SAML", "AUTH")

# The replies to verbs that are known but not accepted. A 521 ends the session.
UNKNOWN: Final = {
    **dict.fromkeys(_OPTIONAL, Reply(502, "5.5.1", "Command not implemented")),
    **dict.fromkeys(_FOREIGN, Reply(521, "5.5.1", "This is not a web server")),
}
ANSWERED: Final = {
    "RSET": Reply(250, "2.0.0", "Ok"),
    "NOOP": Reply(250, "2.0.0", "Ok"),
    "VRFY": Reply(252, "2.5.2", "Send mail and see"),
    "HELP": Reply(214, "2.0.0", "See RFC 5321"),
}
NO_TLS: Final = Reply(502, "5.5.1", "STARTTLS is not offered")
NO_ARGUMENT: Final = Reply(501, "5.5.4", "No argument expected")
BYE: Final = Reply(221, "2.0.0", "Bye")

_TOO_MANY_RECIPIENTS: Final = Reply(452, "4.5.3", "Too many recipients")
_HELLO: Final = Reply(501, "5.5.4", "Say who you are: EHLO name")
_UNKNOWN_PARAMETER: Final = Reply(555, "5.5.4", "Parameter not known")
_BAD_PARAMETER: Final = Reply(501, "5.5.4", PathFault.PARAMETER)
_TOO_LARGE: Final = Reply(552, "5.3.4", "Message too large")
_NEEDS_SMTPUTF8: Final = Reply(553, "5.6.7", "Such an address needs SMTPUTF8")
_WITH_SENDER: Final = frozenset({State.MAIL, State.RCPT})
_MAX_SIZE_DIGITS: Final = 20  # RFC 1870, 3

_BRACKETS: Final = re.compile(r"<([^<>]{1,254})>")
_SENDER_FAULTS: Final = {
    fault: Reply(501, "5.5.4" if "Parameter" in fault else "5.1.7", fault) for fault in PathFault
}
_RECIPIENT_FAULTS: Final = {
    fault: Reply(501, "5.5.4" if "Parameter" in fault else "5.1.3", fault) for fault in PathFault
}


def read_plain(
    line: bytes, state: State, mail: Mail, recipients: Sequence[str], most: int
) -> Mail | Recipient | Data | None:
    """Parse MAIL, RCPT and DATA, if they are allowed now and in their simplest form.

    Return None for all other lines, which read() must parse word by word. For a simple line, read()
    has the same result, but takes four times as long. `most` is the highest number of recipients.
    """
    if state is RCPT and line == b"DATA":
        return Data(mail.sender, tuple(recipients))
    found = plain_path(line)
    if found is None:
        return None
    is_mail, address = found
    if is_mail:
        return Mail(address, 0, False, False) if state is READY else None
    taken = len(recipients)
    if state not in _WITH_SENDER or taken >= most:
        return None
    return Recipient(mail.sender, address, taken)


def read(
    verb: str,
    argument: str,
    offered: Extensions,
    mail: Mail,
    recipients: Sequence[str],
    most: int,
) -> Hello | Mail | Recipient | Data | StartTls | Reply | None:
    """Return an event for a command that the policy answers, or a refusal, or None for other verbs.

    `mail` and `recipients` are the values of the open transaction.
    """
    match verb:
        case "RCPT":
            return read_rcpt(argument, mail, len(recipients), most)
        case "MAIL":
            return read_mail(argument, offered, offered.size_limit_bytes)
        case "DATA":
            return read_data(argument, mail.sender, tuple(recipients))
        case "EHLO" | "HELO":
            return read_hello(argument, verb == "EHLO")
        case "STARTTLS":
            return read_starttls(argument, offered)
        case _:
            return None


def read_hello(argument: str, is_extended: bool) -> Hello | Reply:
    """Parse EHLO or HELO."""
    name = argument.strip(" ")
    return Hello(name, is_extended) if is_hello_name(name) else _HELLO


def read_mail(argument: str, offered: Extensions, max_content_bytes: int) -> Mail | Reply:
    """Parse MAIL FROM:<sender>, and those parameters of SIZE, BODY, SMTPUTF8 and AUTH that are
    offered."""
    path = parse_path(argument, "FROM:")
    if isinstance(path, PathFault):
        return _explained(_SENDER_FAULTS[path], argument)
    if path.address and "@" not in path.address:  # <postmaster> is allowed only as a recipient.
        return _SENDER_FAULTS[PathFault.PATH]
    if not path.parameters:
        if path.address.isascii():
            return Mail(path.address, 0, is_eight_bit=False, is_smtputf8=False)
        return _explained(_NEEDS_SMTPUTF8, argument)
    return _mail_with(path.address, dict(path.parameters), offered, max_content_bytes)


def _mail_with(
    address: str, parameters: dict[str, str], offered: Extensions, max_content_bytes: int
) -> Mail | Reply:
    size = parameters.pop("SIZE", "0") if offered.size else "0"
    body = parameters.pop("BODY", "7BIT").upper() if offered.eight_bit_mime else "7BIT"
    utf8 = parameters.pop("SMTPUTF8", None) if offered.smtputf8 else None
    if offered.auth:
        # AUTH= contains the name under which the client knows the submitter. A server may ignore
        # AUTH= (RFC 4954, 5).
        parameters.pop("AUTH", None)
    if parameters:
        return _UNKNOWN_PARAMETER
    is_number = size.isascii() and size.isdecimal() and len(size) <= _MAX_SIZE_DIGITS
    if not is_number or body not in ("7BIT", "8BITMIME") or utf8:
        return _BAD_PARAMETER
    if int(size) > max_content_bytes:
        return _TOO_LARGE
    if utf8 is None and not address.isascii():
        return _NEEDS_SMTPUTF8
    return Mail(address, int(size), body == "8BITMIME", utf8 is not None)


def read_rcpt(argument: str, mail: Mail, taken: int, most: int) -> Recipient | Reply:
    """Parse RCPT TO:<recipient>. The limit is `most`, and `taken` recipients were already
    accepted."""
    path = parse_path(argument, "TO:")
    if isinstance(path, PathFault):
        return _explained(_RECIPIENT_FAULTS[path], argument)
    if not path.address:
        return _RECIPIENT_FAULTS[PathFault.PATH]
    if path.parameters:
        return _UNKNOWN_PARAMETER
    if not mail.is_smtputf8 and not path.address.isascii():
        return _explained(_NEEDS_SMTPUTF8, argument)
    return Recipient(mail.sender, path.address, taken) if taken < most else _TOO_MANY_RECIPIENTS


def _explained(reply: Reply, argument: str) -> Reply:
    """Add a hint about the likely mistake in the address to the reply. Only a hint in ASCII is
    added."""
    found = _BRACKETS.search(argument)
    hint = mistake_in_address(found[1]) if found else ""
    if not hint or not hint.isascii():
        return reply
    return replace(reply, text=f"{reply.text}: {hint}")


def read_starttls(argument: str, offered: Extensions) -> StartTls | Reply:
    """Parse STARTTLS, which takes no argument and is not offered inside TLS."""
    if not offered.starttls:
        return NO_TLS
    return NO_ARGUMENT if argument else StartTls()


def read_data(argument: str, sender: str, recipients: tuple[str, ...]) -> Data | Reply:
    """Parse DATA, which takes no argument."""
    return NO_ARGUMENT if argument else Data(sender, recipients)
