"""Parses MTA-STS records and policies, and decides when to fetch again (RFC 8461). Pure.

Owns: the meaning and the validity period of a record and of a policy. Does not own: look-ups and
fetching (edge/tls). The text of a fault begins with its result type (RFC 8460, 4.3).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from services.deliver.core.tls.policy import StsMode, StsPolicy
from shared.mail.domains import normalise

MAX_POLICY_BYTES: Final = 64 * 1024
# RFC 8461, 3.2.
MAX_AGE_S: Final = 31_557_600
_MAX_MX: Final = 100
# The TXT record is looked up again after this time: CHECK_S for a domain with a policy, otherwise
# CHECK_NONE_S.
CHECK_S: Final = 3_600.0
CHECK_NONE_S: Final = 1_800.0
# RFC 8461, 3.3: a failed fetch is not repeated before this time has passed.
RETRY_S: Final = 300.0
_ID: Final = re.compile(r"[A-Za-z0-9]{1,32}")
_LINE: Final = re.compile(r"[ \t]*([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*:(.*)\Z")
_AGE: Final = re.compile(r"[0-9]{1,10}")


class StsFault(Exception):
    """The policy cannot be fetched or used; the text begins with the result type."""


class KnownPolicy(Struct, frozen=True):
    """A policy with the id of its TXT record and the Unix time at which it was fetched."""

    policy: StsPolicy
    id: str
    fetched_at_s: float

    def is_valid(self, now_s: float) -> bool:
        """Return whether the policy may still be used."""
        return now_s < self.fetched_at_s + self.policy.max_age_s

    def is_current(self, record_id: str, now_s: float) -> bool:
        """Return True if the policy need not be fetched again.

        The policy is current if the id is the same and less than half of max_age has passed.
        """
        half_s = self.policy.max_age_s / 2
        return self.id == record_id and now_s < self.fetched_at_s + half_s


def parse_txt(rows: Sequence[str]) -> str:
    """Return the id in the TXT record at `_mta-sts.<domain>` (3.1).

    Return "" if there is not exactly one such record.
    """
    records = [row for row in rows if re.match(r"v=STSv1[ \t]*(;|\Z)", row)]
    if len(records) != 1:
        return ""
    for part in records[0].split(";")[1:]:
        name, _, value = part.strip().partition("=")
        if name.strip() == "id" and _ID.fullmatch(value.strip()):
            return value.strip()
    return ""


def parse_policy(text: bytes) -> StsPolicy:
    """Parse the policy file (3.2). Raises StsFault."""
    if len(text) > MAX_POLICY_BYTES:
        raise _invalid(f"larger than {MAX_POLICY_BYTES} bytes")
    values: dict[str, str] = {}
    mx: list[str] = []
    try:
        lines = text.decode("utf-8").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError:
        raise _invalid("not text in UTF-8") from None
    for line in lines:
        if not line.strip():
            continue
        found = _LINE.match(line)
        if found is None:
            raise _invalid("a line is not of the form name: value")
        value = found[2].strip(" \t")
        if found[1] == "mx":
            mx.append(_pattern(value))
        else:
            values.setdefault(found[1], value)  # if a key is repeated, its first value is used
    return _policy(values, mx)


def _policy(values: dict[str, str], mx: list[str]) -> StsPolicy:
    if values.get("version") != "STSv1":
        raise _invalid("version is not STSv1")
    if values.get("mode") not in set(StsMode):
        raise _invalid("mode is not enforce, testing or none")
    mode, age = StsMode(values["mode"]), values.get("max_age", "")
    if not _AGE.fullmatch(age) or int(age) > MAX_AGE_S:
        raise _invalid(f"max_age is not a number up to {MAX_AGE_S}")
    if mode is not StsMode.NONE and not mx:
        raise _invalid("it names no mx")
    if len(mx) > _MAX_MX:
        raise _invalid(f"it names more than {_MAX_MX} mx")
    return StsPolicy(mode, int(age), tuple(mx))


def _pattern(text: str) -> str:
    star = "*." if text.startswith("*.") else ""
    name = normalise(text.removeprefix("*.").removesuffix("."))
    if not name:
        raise _invalid("an mx is not a host name")
    return star + name


def _invalid(reason: str) -> StsFault:
    return StsFault(f"sts-policy-invalid: {reason}")


def body_of(response: bytes) -> bytes:
    """Return the body of a complete HTTP response with a policy (3.3). Raises StsFault.

    Redirects are not followed; the media type must be text/plain.
    """
    head, end, body = response.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = status.partition(" ")
    if not end or not version.startswith("HTTP/1."):
        raise _unfetched("no HTTP response")
    if rest[:3] != "200":
        raise _unfetched(f"the status is {rest[:3]}")
    fields = {
        name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
    }
    kind = fields.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/plain":
        raise _unfetched(f"the media type is {kind[:50]!r}, not text/plain")
    if "chunked" in fields.get("transfer-encoding", "").lower():
        return _unchunked(body)
    length = fields.get("content-length", "")
    if length.isdecimal() and len(body) < int(length):
        raise _unfetched("the response ended early")
    return body[: int(length)] if length.isdecimal() else body


def _unchunked(body: bytes) -> bytes:
    pieces: list[bytes] = []
    while True:
        size_text, end, body = body.partition(b"\r\n")
        try:
            size = int(size_text.partition(b";")[0], 16)
        except ValueError:
            raise _unfetched("a chunk has no size") from None
        if not end or size < 0 or len(body) < size:
            raise _unfetched("the response ended early")
        if size == 0:
            return b"".join(pieces)
        pieces.append(body[:size])
        body = body[size:].removeprefix(b"\r\n")


def _unfetched(reason: str) -> StsFault:
    return StsFault(f"sts-policy-fetch-error: {reason}")
