"""The HTTP headers of the API: Accept, and the cache headers of requests and answers.

The Accept header determines the format of an answer (RFC 9110, 12.5.1). The ETag and Cache-Control
headers depend on the months. An answer about closed months never changes. A cache must validate
every other answer again before the answer is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from litestar import Request, Response
from msgspec import Struct

from services.billing.edge.http.exports import FORMATS, JSON, Format

_ANY: Final = "*/*"
_FINAL: Final = "private, max-age=31536000, immutable"
_LIVE: Final = "private, no-cache"
VARY: Final = "Accept, Authorization"


class _Range(Struct, frozen=True):
    """A media range of the Accept header, with its weight in thousandths."""

    name: str
    weight: int

    def precision(self, media_type: str) -> int:
        """Return 2 if the range is this media type, 1 for `type/*`, 0 for `*/*`, and -1 if the
        range does not match."""
        if self.name == media_type:
            return 2
        if self.name.endswith("/*") and media_type.startswith(self.name[:-1]):
            return 1
        return 0 if self.name == _ANY else -1


def wanted_format(accept: str) -> Format | None:
    """Return the format with the highest weight. Return None if the peer accepts none of the
    formats.

    If formats have the same weight, a format that is written in full in the header is preferred to
    a format that matches a wildcard. If this is not decisive, the order in the header decides, and
    finally the order of FORMATS.
    """
    ranges = list(_ranges(accept))
    if not ranges:
        return JSON
    ordered = sorted(FORMATS, key=lambda form: _rank(form.media_type, ranges))
    weight, *_ = _rank(ordered[0].media_type, ranges)
    return ordered[0] if weight < 0 else None


def _rank(media_type: str, ranges: Sequence[_Range]) -> tuple[int, int, int]:
    """Return the sort key of a media type: the negative weight, the precision and the place of its
    range. The type with the lowest key is preferred."""
    found = [
        (-each.precision(media_type), place)
        for place, each in enumerate(ranges)
        if each.precision(media_type) >= 0
    ]
    if not found:
        return 0, 0, 0
    precision, place = min(found)
    return -ranges[place].weight, precision, place


def _ranges(accept: str) -> Iterator[_Range]:
    for each in accept.split(","):
        name, *parameters = (part.strip().lower() for part in each.split(";"))
        if name:
            yield _Range(name, _weight(parameters))


def _weight(parameters: Sequence[str]) -> int:
    """Return the weight in thousandths. Return 1,000 if the weight is missing or is not a number
    from 0 to 1."""
    for each in parameters:
        name, _, value = each.partition("=")
        if name.strip() == "q":
            try:
                number = float(value)
            except ValueError:
                return 1000
            return round(number * 1000) if 0 <= number <= 1 else 1000
    return 1000


def etag_of(*parts: object) -> str:
    """Return a strong ETag, which is computed from all values that determine the bytes of an
    answer."""
    return f'"{hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]}"'


def cache_headers(etag: str, *, is_final: bool) -> dict[str, str]:
    """Return the cache headers of an answer with this ETag."""
    return {"ETag": etag, "Cache-Control": _FINAL if is_final else _LIVE, "Vary": VARY}


def is_known(request: Request[Any, Any, Any], etag: str) -> bool:
    """Return True if the peer already has the answer with this ETag."""
    named = request.headers.get("if-none-match", "")
    return etag in (each.strip().removeprefix("W/") for each in named.split(",")) or named == "*"


def not_modified(headers: dict[str, str]) -> Response[bytes]:
    """Return the answer `304 Not Modified` for a peer that already has the bytes."""
    return Response(b"", status_code=304, headers=headers)
