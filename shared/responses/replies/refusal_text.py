"""Extracts the words of a refusal, without the names in it.

This module owns the part of a server's text that the rules read. It does not own the rules
(reply_rules.py). An address, host name, IP address or URL is not a reason, but its parts look like
words: `<policy@r.example>: no such user` is about a recipient, not about a policy. Therefore a
marker replaces each of these texts: {addr}, {host}, {ip} or {url}. The host name of a known block
list becomes {blocklist}, because a block list is a reason. Every pattern takes linear time, and at
most MAX_CHARACTERS characters are read. This module does no I/O.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from shared.responses.replies.literals import grams_in
from shared.smtp.reply import Reply

# Replies are cut to 1 KiB when they are received (shared/smtp/remote_text.py).
MAX_CHARACTERS: Final = 1_024

# The operators of block lists. A server mentions such an operator only if the server refuses our
# host.
_LISTS: Final = (
    "spamhaus|sorbs|spamcop|barracudacentral|barracudanetworks|cloudmark|ipcheck|mail-abuse"
    "|uribl|surbl|invaluement|spamrl|junkemailfilter|hostkarma|cobion|abuseat|uceprotect|njabl"
    "|backscatterer|senderscore|senderbase|talosintelligence|trustedsource|mxrate|nixspam"
    "|spamrats|gbudb|mailspike|spfbl|abusix|ahbl|mailhosts?bl|0spam|nordspam|nerd\\.dk|blagr"
    "|cloud-security|anti-spam\\.org|reset-request|validity|returnpath|psbl|dsbl|ordb"
)
_LIST_HOST: Final = re.compile(
    rf"{_LISTS}|(?:^|[.-])(?:dns|dns[br]|rhs|uri|su|d|x|s|p|c)?r?bl[.-]|(?:black|block)list",
    re.IGNORECASE,
)
# The following patterns match only at the beginning of a word, so each is tried once per word.
_URL: Final = re.compile(r"\b(?:https?://|www\.)[^\s<>\"']+", re.IGNORECASE)
_NAME: Final = r"[^\s<>\"'(),:;=\[\]@]"
_ADDRESS: Final = re.compile(
    rf"(?<!{_NAME}){_NAME}{{1,320}}@{_NAME}{{1,255}}|\"[^\"\n@]{{1,64}}\"@{_NAME}{{1,255}}"
)
# The look-behind follows a set of characters, because a search that begins with such a set is
# faster: the search skips all other characters.
_IPV4: Final = re.compile(r"[0-9](?<![\d.][0-9])\d{0,2}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\d]|\.\d)")
_MIN_COLONS: Final = 3  # Shorter forms of IPv6 addresses, such as "::1", are not recognised.
_IPV6: Final = re.compile(r"(?<![\w:])[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){3,7}(?![\w:])", re.IGNORECASE)
# The letters of the last label must have the same case, because "blocked.For" in "is blocked.For
# help" is no host name.
_HOST: Final = re.compile(
    r"(?<![\w.*-])(?:[\w*-]{1,63}\.){1,9}(?:[a-z]{2,24}|[A-Z]{2,24})(?![\w-]|\.\w)"
)
_BRACKETED: Final = re.compile(r"<[^<>\s{}]{1,255}>|(?<!\w)([\"'])[^\s\"'{}]{1,64}\1")
# Matches a status anywhere in the text: "(#5.1.1)", "#5.7.1", "[5.1.1]", "5.1.1:". The second
# number of a status is 0 to 7 (RFC 3463, 4), which excludes most version numbers.
_STATUS: Final = re.compile(
    r"[(#\[245](?<![\w.\-/][(#\[245])(?:(?<=[(#\[])[(#\[]{0,2}[245]|(?<=[245]))"
    r"\.([0-7]\.[0-9]{1,3})(?![\w]|\.\d)[\])]?:?"
)
# Some servers quote the reply of another server. The name of that server is not a reason.
_SAID: Final = re.compile(r"\bhost \S{1,320} said: ?", re.IGNORECASE)


class Refusal(Struct, frozen=True):
    """The input of the rules. `detail` is the status without its first digit, or "".

    The words are in lower case, because a search that ignores case takes twice as long.
    """

    detail: str
    words: str
    grams: frozenset[str] = frozenset()  # The grams of the words (literals.py).


def read_refusal(reply: Reply) -> Refusal:
    """Return the status and the words of a reply."""
    text = reply.text[:MAX_CHARACTERS]
    text = _without_names(_SAID.sub("", text) if " said:" in text else text)
    found = _STATUS.search(text)
    # RFC 2034 requires the status at the beginning of the text, with the class of the code. A
    # status elsewhere in the text has the same meaning.
    detail = reply.enhanced[2:] or (found[1] if found else "")
    # "BAD_RECIPIENT" and "is_blocked" consist of two words each; a line may end between any two
    # words.
    spaced = _STATUS.sub(" ", text).replace("_", " ")
    words = " ".join(spaced.split()).lower()
    return Refusal(detail, words, grams_in(words))


def _without_names(text: str) -> str:
    # A test for a character is fast, and most texts do not contain these characters.
    if "/" in text or "www." in text.lower():
        text = _URL.sub(_url_marker, text)
    if "@" in text:
        text = _ADDRESS.sub("{addr}", text)
    if "." in text:
        text = _IPV4.sub("{ip}", text)
    if text.count(":") >= _MIN_COLONS:
        text = _IPV6.sub("{ip}", text)
    if "." in text:
        text = _HOST.sub(_host_marker, text)
    return _BRACKETED.sub("{addr}", text).replace("<{addr}>", "{addr}")


def _url_marker(found: re.Match[str]) -> str:
    return "{blocklist}" if _LIST_HOST.search(found[0]) else "{url}"


def _host_marker(found: re.Match[str]) -> str:
    return "{blocklist}" if _LIST_HOST.search(found[0]) else "{host}"
