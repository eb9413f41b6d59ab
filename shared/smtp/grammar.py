"""Parses and encodes commands: verbs, paths and parameters (RFC 5321, 4.1; RFC 6531).

This module owns the grammar of commands. The order of commands is in states.py, and the check of
addresses in shared/mail. Source routes are refused. One space after FROM: or TO: is accepted,
because all servers accept it. The time is linear.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from msgspec import Struct

from shared.smtp.errors import LocalProtocolError

# RFC 5321 requires 512 bytes, and extensions may increase this number. With the extensions that are
# offered, the sum is less than 1,200 (AUTH= adds 500 to MAIL). This limit is also sufficient for
# the initial response of AUTH, even with a password of 1,024 octets.
MAX_COMMAND_BYTES: Final = 2_048
MAX_PARAMETERS: Final = 16
# A path with its brackets has at most 256 octets (RFC 5321, 4.5.3.1.3).
MAX_ADDRESS_OCTETS: Final = 254
MAX_LOCAL_OCTETS: Final = 64  # RFC 5321, 4.5.3.1.1.

_ATEXT: Final = r"[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]"
_LOCAL: Final = rf"(?:{_ATEXT}+(?:\.{_ATEXT}+)*|\"(?:[^\x00-\x1f\x7f\"\\]|\\[ -~])*\")"
_LABEL: Final = r"[^\x00-,./:-@\[-^`{-\x7f]+"
_DOMAIN: Final = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[A-Za-z0-9:.-]{{3,64}}\])"
_MAILBOX: Final = re.compile(rf"({_LOCAL})@{_DOMAIN}")
_PATH: Final = re.compile(rf" ?<({_LOCAL}@{_DOMAIN}|[Pp][Oo][Ss][Tt][Mm][Aa][Ss][Tt][Ee][Rr]|)>")
_VERB: Final = re.compile(r"([A-Za-z]{3,16})(?: (.*))?", re.DOTALL)
# Matches most MAIL and RCPT lines in one step. The patterns above are for all other lines.
_PLAIN_WORD: Final = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_PLAIN_PATH: Final = re.compile(
    rb"(?:(?i:(MAIL) FROM)|(?i:RCPT TO)):<((" + _PLAIN_WORD + rb"(?:\." + _PLAIN_WORD + rb")*)"
    rb"@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)>"
)
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")
# Matches the control characters of Latin-1 except the tab, and the line ends of Unicode.
_CONTROL: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_HELLO_NAME: Final = re.compile(r"[!-~]{1,255}")


class CommandFault(StrEnum):
    """The reason why a line is not a command, as a text for the peer."""

    CONTROL = "Control characters in a command"
    NOT_UTF8 = "A command that is not UTF-8"
    VERB = "Command not recognised"


class PathFault(StrEnum):
    """The reason why the argument of MAIL or RCPT is not valid, as a text for the peer."""

    PATH = "Address not valid; it is written <local-part@domain>"
    TOO_LONG = "Address too long"
    PARAMETER = "Parameter not valid"
    REPEATED = "Parameter given twice"


class Command(Struct, frozen=True):
    """A command line: its verb in upper case, and the text after the verb."""

    verb: str
    argument: str


class Path(Struct, frozen=True):
    """The argument of MAIL or RCPT. `address` is "" for the null path `<>`."""

    address: str
    parameters: dict[str, str]


def parse_command(line: bytes) -> Command | CommandFault:
    """Parse a command line without its CRLF."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return CommandFault.NOT_UTF8
    if _CONTROL.search(text):
        return CommandFault.CONTROL
    found = _VERB.fullmatch(text.rstrip(" \t"))
    return Command(found[1].upper(), found[2] or "") if found else CommandFault.VERB


def plain_path(line: bytes) -> tuple[bool, str] | None:
    """Return True for MAIL or False for RCPT, and the address. Return None if the line is not
    simple.

    The result is the same as the result of parse_command() and parse_path(). A test compares the
    two.
    """
    found = _PLAIN_PATH.fullmatch(line)
    if found is None:
        return None
    verb, address, local = found.groups()
    if len(address) > MAX_ADDRESS_OCTETS or len(local) > MAX_LOCAL_OCTETS:
        return None
    return verb is not None, address.decode("ascii")


def parse_path(argument: str, keyword: str) -> Path | PathFault:
    """Parse the argument of MAIL (`keyword` "FROM:") or RCPT ("TO:")."""
    size = len(keyword)
    start = argument[:size]
    if not start.isascii() or start.upper() != keyword:
        return PathFault.PATH
    found = _PATH.match(argument, size)
    if found is None:
        return PathFault.PATH
    address, rest = found[1], argument[found.end() :]
    if address and _is_too_long(address):
        return PathFault.TOO_LONG
    if not rest:
        return Path(address, {})
    if rest[0] != " ":
        return PathFault.PATH
    # split() without an argument would split at any Unicode white space.
    parameters = _parse_parameters([word for word in rest.split(" ") if word])
    return parameters if isinstance(parameters, PathFault) else Path(address, parameters)


def _is_too_long(address: str) -> bool:
    local = address.rpartition("@")[0]
    if address.isascii():
        return len(address) > MAX_ADDRESS_OCTETS or len(local) > MAX_LOCAL_OCTETS
    octets = len(address.encode())
    return octets > MAX_ADDRESS_OCTETS or len(local.encode()) > MAX_LOCAL_OCTETS


def _parse_parameters(words: list[str]) -> dict[str, str] | PathFault:
    parameters: dict[str, str] = {}
    if len(words) > MAX_PARAMETERS:
        return PathFault.PARAMETER
    for word in words:
        found = _PARAMETER.fullmatch(word)
        if found is None:
            return PathFault.PARAMETER
        if (name := found[1].upper()) in parameters:
            return PathFault.REPEATED
        parameters[name] = found[2] or ""
    return parameters


def is_hello_name(name: str) -> bool:
    """Return True if EHLO and HELO accept this name.

    Any ASCII text is accepted, because many clients send no host name.
    """
    return _HELLO_NAME.fullmatch(name) is not None


def is_mailbox(address: str) -> bool:
    """Return True if an address is valid in a path.

    No part of a valid address can end the path or the line.
    """
    found = _MAILBOX.fullmatch(address)
    if found is None:
        return False
    # For ASCII, _is_too_long() is not called. This saves time, because is_mailbox() runs twice per
    # message.
    if address.isascii():
        return len(address) <= MAX_ADDRESS_OCTETS and found.end(1) <= MAX_LOCAL_OCTETS
    return not _is_too_long(address)


def encode_path(address: str) -> bytes:
    """Return `<address>`, or `<>` for "". Raises LocalProtocolError if the address is not a
    mailbox."""
    if address and not is_mailbox(address):
        raise LocalProtocolError(f"not a mailbox: {address!r}")
    return f"<{address}>".encode()
