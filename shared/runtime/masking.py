"""Which settings are secret, and how they look where settings are shown."""

from __future__ import annotations

import re
from typing import Any, Final

from msgspec import inspect as shapes

MASK: Final = "********"
_SECRET_WORDS: Final = frozenset(
    {"password", "passwords", "secret", "secrets", "key", "keys", "token", "tokens"}
)
_URL_PASSWORD: Final = re.compile(r"(?<=://)([^/@\s:]*):([^/@\s]+)@")


def is_secret(key: str, kind: Any = str) -> bool:
    """Whether the setting of this name and type holds a secret.

    Its last word tells (`hmac_key`), unless its type says `Meta(extra={"secret": False})`,
    or True.
    """
    info = shapes.type_info(kind)
    if isinstance(info, shapes.Metadata) and info.extra and "secret" in info.extra:
        return bool(info.extra["secret"])
    return key.rsplit("_", 1)[-1] in _SECRET_WORDS


def masked(key: str, value: Any, kind: Any = str) -> Any:
    """The value as it may be shown: secrets and passwords inside URLs are hidden."""
    if is_secret(key, kind):
        return MASK if value else value
    if isinstance(value, str):
        return _URL_PASSWORD.sub(rf"\1:{MASK}@", value)
    return value
