"""The reasons why a value is not exactly one valid address."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Fault(StrEnum):
    """The reason why a value is not exactly one valid address. Fits after the word "because"."""

    EMPTY = "it is empty"
    NO_ADDRESS = "it contains no address of the form local-part@domain"
    SEVERAL = "it contains more than one address, or a list"
    GROUP = "it contains a group, which is not an address"
    NOT_UTF8 = "it contains bytes that are not UTF-8; write such names as RFC 2047 encoded words"
    CONTROL = "it contains a control character"
    TOO_LONG = "it is too long: 64 octets before the @, 254 in all"
    UNCLOSED = "a quotation mark, bracket or comment in it is not closed"
    OUTSIDE = "there is text around <address> that is not a display name"
    ENCODED = "the address itself contains an encoded word"
    INSIDE = "the address itself contains a comment or white space"
    ROUTE = "it contains a source route"
    LOCAL_PART = "the part before the @ is not valid"
    LITERAL = "it has an IP address instead of a domain"
    DOMAIN = "the part after the @ is not a fully qualified domain"
    HIDDEN = "its display name hides control characters in an encoded word"


class AddressFault(Struct, frozen=True):
    """The result of parsing a value that is not exactly one valid address."""

    fault: Fault

    @property
    def reason(self) -> str:
        """Return the reason as a text."""
        return str(self.fault)


class NotOneAddress(Exception):
    """Raised to end the parsing of a value that is not exactly one valid address."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
