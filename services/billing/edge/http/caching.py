"""ETags and cache headers: what is closed never changes, everything else is asked for again."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec
from litestar import Request, Response

_FINAL: Final = "private, max-age=31536000, immutable"
_LIVE: Final = "private, no-cache"
VARY: Final = "Accept, Authorization"


def etag_of(*parts: object) -> str:
    """A strong ETag of everything that decides about the bytes of an answer."""
    return f'"{hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]}"'


def cache_headers(etag: str, *, is_final: bool) -> dict[str, str]:
    """The headers of an answer with this ETag."""
    return {"ETag": etag, "Cache-Control": _FINAL if is_final else _LIVE, "Vary": VARY}


def is_known(request: Request[Any, Any, Any], etag: str) -> bool:
    """Whether the peer has these bytes already."""
    named = request.headers.get("if-none-match", "")
    return etag in (each.strip().removeprefix("W/") for each in named.split(",")) or named == "*"


def not_modified(headers: dict[str, str]) -> Response[bytes]:
    """The answer to a peer that has the bytes already."""
    return Response(b"", status_code=304, headers=headers)
