"""Parses one address from a From or To header or an SMTP path (RFC 5322, 3.4).

This module decides whether a value is one valid address (docs/rules.md lists each form), and owns
the normal form. In the normal form, the local part has no quotes if possible, and the domain is in
lower-case A-labels. So all spellings of a mailbox have the same normal form. The local part is
case-sensitive (RFC 5321, 2.4). The header line that contains the address is read by headers.py, and
the comparison form is in comparison.py. No input raises an exception, and the time is linear in the
length. A faster function parses plain ASCII. Its result is exactly the same as the result of
parsing by tokens, and a test compares the two results.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from msgspec import Struct

from shared.mail import encoded_words
from shared.mail.address_faults import AddressFault, Fault, NotOneAddress
from shared.mail.domains import normalise

MAX_LOCAL_OCTETS: Final = 64  # RFC 5321, 4.5.3.1.1.
# A path with its brackets has at most 256 octets (RFC 5321, 4.5.3.1.3).
MAX_ADDRESS_OCTETS: Final = 254
MAX_VALUE_CHARS: Final = 4_096  # The limit of a header value, which includes the display name.
MAX_NESTED_COMMENTS: Final = 16
_CACHED_PATHS: Final = 4_096


class ParsedAddress(Struct, frozen=True):
    """One valid address: its normal form, and the local part and the domain of the normal form."""

    address: str
    local: str
    domain: str


Parsed = ParsedAddress | AddressFault

_ATEXT: Final = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"

_DOT_ATOM: Final = rf"[{_ATEXT}]++(?:\.[{_ATEXT}]++)*+"

_PLAIN: Final = re.compile(
    rf"[ \t]*+(?:(\"[ !#-\[\]-~]*+\"|(?!\.)[{_ATEXT} \t.]*+)"
    rf"[ \t]*+<({_DOT_ATOM})@([A-Za-z0-9.-]++)>"
    rf"|({_DOT_ATOM})@([A-Za-z0-9.-]++))[ \t]*+".encode()
)

_UATEXT: Final = rf"{_ATEXT}\u00a0-\U0010ffff"  # RFC 6532, 3.2

_DOT_ATOM_TEXT: Final = re.compile(rf"[{_UATEXT}]++(?:\.[{_UATEXT}]++)*+")

# Matches ASCII controls except the tab, C1 controls, line and paragraph separators, and lone
# surrogates.
_CONTROL: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# C1 controls and escapes are allowed, because harmless mail may contain them. For example,
# Windows-1252 that is declared as ISO 8859-1 is decoded to C1 controls, and malformed ISO 2022 is
# decoded to escapes.
_HIDDEN: Final = re.compile("[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f\u2028\u2029]")

_TOKEN: Final = re.compile(
    rf"(?P<space>[ \t]++)|(?P<atom>[{_UATEXT}]++)"
    r"|(?P<quoted>\"(?:[^\"\\]|\\.)*+\")|(?P<literal>\[[^\[\]\\]*+\])|(?P<special>.)",
    re.DOTALL,
)

_ENCODED_WORD: Final = re.compile(r"=\?[^?]+\?.\?[^?]*\?=")

_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)

_NEEDS_BACKSLASH: Final = re.compile(r'(["\\])')


# A token is a pair of kind and text. The kind of a special character is the character itself.
_Token = tuple[str, str]


def parse_single(value: bytes | str) -> Parsed:
    """Parse the value of an unfolded From or To header as exactly one address."""
    octets = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    return _parse_plain(octets) or _parse_tokens(octets)


def parse_path(path: str) -> Parsed:
    """Parse an envelope address: an addr-spec without a display name or brackets."""
    if len(path) > 2 * MAX_ADDRESS_OCTETS:
        return AddressFault(Fault.TOO_LONG)
    return _cached_path(path)


@lru_cache(_CACHED_PATHS)
def _cached_path(path: str) -> Parsed:
    parsed = parse_single(path)
    if isinstance(parsed, ParsedAddress) and (path[0] in "< \t(" or path[-1] in "> \t)"):
        return AddressFault(Fault.OUTSIDE)
    return parsed


def _parse_plain(octets: bytes) -> ParsedAddress | None:
    """Parse the most frequent forms of an address. Return None if the value must be parsed by
    tokens."""
    match = _PLAIN.fullmatch(octets)
    if match is None or len(octets) > MAX_VALUE_CHARS:
        return None
    name, local, domain, bare_local, bare_domain = match.groups()
    if bare_local is not None:
        local, domain = bare_local, bare_domain
    elif b"=?" in name and _HIDDEN.search(encoded_words.decode(name)):
        return None
    if b"=?" in local or len(local) > MAX_LOCAL_OCTETS:
        return None
    host = normalise(domain.decode("ascii"))
    if not host or len(local) + 1 + len(host) > MAX_ADDRESS_OCTETS:
        return None
    text = local.decode("ascii")
    return ParsedAddress(f"{text}@{host}", text, host)


def _parse_tokens(octets: bytes) -> Parsed:
    if len(octets) > 4 * MAX_VALUE_CHARS:
        return AddressFault(Fault.TOO_LONG)
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        return AddressFault(Fault.NOT_UTF8)
    if len(text) > MAX_VALUE_CHARS:
        return AddressFault(Fault.TOO_LONG)
    if _CONTROL.search(text):
        return AddressFault(Fault.CONTROL)
    try:
        return _mailbox(_tokens(text))
    except NotOneAddress as answer:
        return AddressFault(answer.fault)


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        if text[at] == "(":
            end = _end_of_comment(text, at)
            tokens.append(("comment", text[at:end]))
            at = end
            continue
        match = _TOKEN.match(text, at)
        # _TOKEN always matches, because its last alternative matches any character.
        assert match is not None
        kind, found = match.lastgroup or "", match[0]
        if kind == "special":
            kind = found
        if kind in {'"', "["}:
            raise NotOneAddress(Fault.UNCLOSED)
        tokens.append((kind, found))
        at = match.end()
    return tokens


def _end_of_comment(text: str, start: int) -> int:
    depth, at = 0, start
    while at < len(text):
        letter = text[at]
        if letter == "\\":
            at += 1
        elif letter == "(":
            depth += 1
            if depth > MAX_NESTED_COMMENTS:
                break
        elif letter == ")":
            depth -= 1
            if not depth:
                return at + 1
        at += 1
    raise NotOneAddress(Fault.UNCLOSED)


def _mailbox(tokens: list[_Token]) -> ParsedAddress:
    kinds = [kind for kind, _ in tokens]
    if not any(kind not in {"space", "comment"} for kind in kinds):
        raise NotOneAddress(Fault.EMPTY if "comment" not in kinds else Fault.NO_ADDRESS)
    if ")" in kinds:
        raise NotOneAddress(Fault.UNCLOSED)
    if "<" in kinds or ">" in kinds:
        return _angle_address(tokens, kinds)
    for special, fault in ((",", Fault.SEVERAL), (":", Fault.GROUP), (";", Fault.GROUP)):
        if special in kinds:
            raise NotOneAddress(fault)
    _check_names("".join(text for kind, text in tokens if kind == "comment"))
    return _addr_spec(_strip(tokens, {"space", "comment"}))


def _angle_address(tokens: list[_Token], kinds: list[str]) -> ParsedAddress:
    _check_outside(kinds)
    start, end = kinds.index("<"), kinds.index(">")
    _check_names("".join(text for _, text in tokens[:start] + tokens[end + 1 :]))
    inside = tokens[start + 1 : end]
    if inside and inside[0][0] == "@":
        raise NotOneAddress(Fault.ROUTE)
    return _addr_spec(_strip(inside, {"space"}))


def _check_outside(kinds: list[str]) -> None:
    """Allow only a display name before the brackets, and only comments after them."""
    if kinds.count("<") != 1 or kinds.count(">") != 1:
        several = kinds.count("<") > 1 and kinds.count(">") > 1
        raise NotOneAddress(Fault.SEVERAL if several else Fault.UNCLOSED)
    start, end = kinds.index("<"), kinds.index(">")
    if end < start:
        raise NotOneAddress(Fault.UNCLOSED)
    before, after = kinds[:start], kinds[end + 1 :]
    if "," in before or "," in after:
        raise NotOneAddress(Fault.SEVERAL)
    if ":" in before or ";" in after:
        raise NotOneAddress(Fault.GROUP)
    words = [kind for kind in before if kind not in {"space", "comment"}]
    # A dot in a display name is obsolete syntax (RFC 5322, 4.1). Even this syntax allows no dot at
    # the beginning.
    if words[:1] == ["."] or any(kind not in {"atom", "quoted", "."} for kind in words):
        raise NotOneAddress(Fault.OUTSIDE)
    if any(kind not in {"space", "comment"} for kind in after):
        raise NotOneAddress(Fault.OUTSIDE)


def _strip(tokens: list[_Token], kinds: set[str]) -> list[_Token]:
    start, end = 0, len(tokens)
    while start < end and tokens[start][0] in kinds:
        start += 1
    while end > start and tokens[end - 1][0] in kinds:
        end -= 1
    return tokens[start:end]


def _check_names(name: str) -> None:
    """Refuse names whose encoded words decode to control characters (RFC 2047, 5 (3))."""
    if "=?" in name and _HIDDEN.search(encoded_words.decode(name.encode())):
        raise NotOneAddress(Fault.HIDDEN)


def _addr_spec(tokens: list[_Token]) -> ParsedAddress:
    kinds = [kind for kind, _ in tokens]
    if "@" not in kinds:
        raise NotOneAddress(Fault.NO_ADDRESS)
    if "space" in kinds or "comment" in kinds:
        raise NotOneAddress(Fault.INSIDE)
    at = kinds.index("@")
    local, domain = _local_part(tokens[:at]), _domain(tokens[at + 1 :])
    address = f"{local}@{domain}"
    # The length of the written form is limited, too, because a U-label can be longer than its
    # A-label.
    written = sum(len(text.encode()) for _, text in tokens)
    if len(local.encode()) > MAX_LOCAL_OCTETS:
        raise NotOneAddress(Fault.TOO_LONG)
    if max(written, len(address.encode())) > MAX_ADDRESS_OCTETS:
        raise NotOneAddress(Fault.TOO_LONG)
    return ParsedAddress(address, local, domain)


def _local_part(tokens: list[_Token]) -> str:
    """Return the local part in its normal form, without quotes if they are not necessary."""
    if len(tokens) == 1 and tokens[0][0] == "quoted":
        content = _QUOTED_PAIR.sub(r"\1", tokens[0][1][1:-1])
        if not content or "\t" in content:
            raise NotOneAddress(Fault.LOCAL_PART)
    else:
        content = "".join(text for _, text in tokens)
        if any(kind not in {"atom", "."} for kind, _ in tokens):
            raise NotOneAddress(Fault.LOCAL_PART)
        if not _DOT_ATOM_TEXT.fullmatch(content):
            raise NotOneAddress(Fault.LOCAL_PART)
    if _ENCODED_WORD.search(content):
        raise NotOneAddress(Fault.ENCODED)
    if not content.isascii() and encoded_words.has_deceptive_letter(content):
        raise NotOneAddress(Fault.LOCAL_PART)
    if _DOT_ATOM_TEXT.fullmatch(content):
        return content
    return '"' + _NEEDS_BACKSLASH.sub(r"\\\1", content) + '"'


def _domain(tokens: list[_Token]) -> str:
    if tokens and tokens[0][0] == "literal":
        raise NotOneAddress(Fault.LITERAL)
    domain = normalise("".join(text for _, text in tokens))
    if not domain:
        raise NotOneAddress(Fault.DOMAIN)
    return domain
