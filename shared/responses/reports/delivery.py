"""Reads the fields of delivery reports (RFC 3464, RFC 6533), even of malformed reports.

This module finds the group of fields of each recipient. It does not own the meaning of a group
(classing.py). No function raises an exception. At most MAX_RECIPIENTS recipients are read. This
module does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from shared.responses.reports.addresses import distinct, is_public, typed_address
from shared.responses.reports.statement import Statement

STATUS_PARTS: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
MAX_RECIPIENTS: Final = 100
_MAX_LINES: Final = 2_000
_MAX_VALUE_CHARS: Final = 2_000

_FIELD: Final = re.compile(
    r"[ \t>]{0,8}(final-recipient|original-recipient|x-actual-recipient|action|status"
    r"|diagnostic-code|remote-mta|will-retry-until|x-powermta-bouncecategory)[ \t]{0,4}:[ \t]*(.*)",
    re.IGNORECASE,
)
_OTHER_FIELD: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,40}:(?: |$)")
# Matches a line of a reply (RFC 5321, 4.2.1), because some systems do not indent further lines.
_REPLY_LINE: Final = re.compile(r"[245][0-9]{2}[ -]")
_STATUS: Final = re.compile(r"(?<![\d.])([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![\d.]*\d)")
_COMMENT: Final = re.compile(r"\(([^()]{1,300})")
_DIAGNOSTIC_TYPE: Final = re.compile(r"^\s{0,10}[\w.-]{1,30}\s{0,3};\s{0,10}")
_CATEGORY: Final = "x-powermta-bouncecategory"
_RECIPIENT_FIELDS: Final = ("final-recipient", "original-recipient", "x-actual-recipient")

_Group = dict[str, str]


def read_delivery_fields(text: str) -> list[Statement]:
    """Return one statement for each recipient in a text. Return [] if the text has no recipient."""
    statements: dict[str, Statement] = {}
    for group in _groups(text):
        statement = _statement(group)
        known = statements.get(statement.address)
        is_better = known is None or bool(statement.diagnostic and not known.diagnostic)
        aliases = (*known.aliases, *statement.aliases) if known else statement.aliases
        statements[statement.address] = replace(
            statement if is_better or known is None else known,
            aliases=distinct(aliases, but=statement.address),
        )
        if len(statements) == MAX_RECIPIENTS:
            break
    return list(statements.values())


def _groups(text: str) -> Iterator[_Group]:
    """Yield the fields of each recipient. An empty line or a repeated field ends a group."""
    group: _Group = {}
    last = ""
    for line in text.split("\n", _MAX_LINES)[:_MAX_LINES]:
        found = _FIELD.match(line)
        if found is not None:
            name, value = found[1].lower(), found[2].strip()
            if name in group and (_has_recipient(group) or name in _RECIPIENT_FIELDS):
                yield group
                group = {}
            group[name] = value[:_MAX_VALUE_CHARS]
            last = name
        elif not line.strip():
            if _has_recipient(group):
                yield group
                group = {}
            last = ""
        elif last and (line[0] in " \t" or _REPLY_LINE.match(line)):
            group[last] = f"{group[last]} {line.strip()}"[:_MAX_VALUE_CHARS]
        elif _OTHER_FIELD.match(line):
            last = ""
    if _has_recipient(group):
        yield group


def _has_recipient(group: _Group) -> bool:
    return any(name in group for name in _RECIPIENT_FIELDS)


def _statement(group: _Group) -> Statement:
    given = group.get("status", "")
    status = _STATUS.search(given)
    comment = _COMMENT.search(given)
    diagnostic = _DIAGNOSTIC_TYPE.sub("", group.get("diagnostic-code", ""), count=1)
    if _CATEGORY in group:
        diagnostic += f" [category: {group[_CATEGORY]}]"
    addresses = _addresses(group)
    address = _preferred(addresses)
    return Statement(
        address=address,
        action=group.get("action", "").lower().split(" ")[0].split(";")[0].strip("().,"),
        status=status[1] if status else "",
        diagnostic=diagnostic.strip() or (comment[1] if comment else ""),
        aliases=distinct(addresses, but=address),
    )


def _addresses(group: _Group) -> list[str]:
    return [typed_address(group[name]) for name in _RECIPIENT_FIELDS if name in group]


def _preferred(addresses: Sequence[str]) -> str:
    """Return the first public address or, if none is public, the first address."""
    return next(filter(is_public, addresses), next(filter(None, addresses), ""))
