"""Decides which settings are secret, and masks them wherever settings are shown.

A setting that is not secret may contain a password inside a URL: before the host, together with the
user, or in the query. This also applies to lists and tables of URLs, and to malformed URLs. If a
password contains an @ or another delimiter that is not percent-encoded, the beginning and the end
of the password are uncertain. In this case, the mask hides more text than necessary.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote_plus

from msgspec import inspect as shapes

MASK: Final = "********"
_SECRET_WORDS: Final = frozenset(
    {"password", "passwords", "secret", "secrets", "key", "keys", "token", "tokens"}
)
# Any other text before :// may be a user name, followed by a password that begins with //.
_SCHEMES: Final = frozenset({"http", "https", "redis", "rediss", "unix", "postgresql", "postgres"})
# If the port in host:port is not a number, the text is user:password, and the @ is in the query.
_NO_PORT: Final = re.compile(r"\A([^\[\]:/]*):(?![0-9]{0,5}(?:[,/]|\Z)).*", re.DOTALL)


def is_secret(key: str, kind: Any = str) -> bool:
    """Return True if the setting with this name and type contains a secret.

    If the type sets "secret" in `Meta(extra=...)` to True or False, this value decides. Otherwise a
    boolean setting is never secret, and for other settings the last word of the name decides
    (`hmac_key`).
    """
    info = shapes.type_info(kind)
    if isinstance(info, shapes.Metadata) and info.extra and "secret" in info.extra:
        return bool(info.extra["secret"])
    while isinstance(info, shapes.Metadata):
        info = info.type
    return not isinstance(info, shapes.BoolType) and key.rsplit("_", 1)[-1] in _SECRET_WORDS


def masked(key: str, value: Any, kind: Any = str) -> Any:
    """Return the value; secrets and passwords inside URLs are replaced by MASK."""
    if is_secret(key, kind):
        return MASK if value else value
    match value:
        case str():
            return _without_password(value)
        case dict():
            return {name: masked(str(name), inner) for name, inner in value.items()}
        case list() | tuple():
            return [masked("", inner) for inner in value]
        case _:
            return value


def _without_password(text: str) -> str:
    scheme, divider, rest = text.partition("://")
    if not divider or scheme.lower() not in _SCHEMES:
        scheme, divider, rest = "", "", text
    start, mark, whole_query = rest.partition("?")
    query = _without_secrets(whole_query) if mark else ""
    if "@" in whole_query and "@" not in query:
        # The last @, which ends the login, may be hidden together with the query.
        user, colon, _ = start.partition(":")
        if "@" in user:
            user, colon = "", ":"
        return f"{scheme}{divider}{user}{colon}{MASK if colon else ''}{mark}{query}"
    login, at, host = f"{start}{mark}{query}".rpartition("@")
    if at:
        user, colon, password = login.partition(":")
        if password:
            login = f"{user}:{MASK}"
        elif divider and user and not colon:
            login = MASK  # the user name may be a token
    elif divider:
        host = _NO_PORT.sub(rf"\1:{MASK}", start) + mark + query
    return f"{scheme}{divider}{login}{at}{host}"


def _without_secrets(query: str) -> str:
    """Mask the values of secret keys in the query of a URL."""
    shown: list[str] = []
    is_hidden = False
    for part in query.split("&"):
        key, has_value, value = part.partition("=")
        if not has_value and is_hidden:
            continue  # this is the rest of a secret value that contains an &
        is_hidden = is_secret(unquote_plus(key).lower()) and bool(value)
        shown.append(f"{key}={MASK}" if is_hidden else part)
    return "&".join(shown)
