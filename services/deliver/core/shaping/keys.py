"""Makes the keys of limits and suspensions. A key identifies the mail concerned. Pure.

A message has all keys of its destination and of its sender. Operators' commands use the same keys.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Scope(StrEnum):
    """The kinds of keys that a reply can be about."""

    SITE = "site"
    PROVIDER = "provider"
    SOURCE = "source"
    CLIENT = "client"
    SENDING_DOMAIN = "sending_domain"


class Destination(Struct, frozen=True, cache_hash=True):
    """The destination of a message. `provider` is "" if its servers belong to no known provider."""

    domain: str
    site: str
    provider: str = ""
    is_override: bool = False

    @property
    def key(self) -> str:
        """Return the key of the provider, or of the site if there is no provider.

        Limits are counted under this key, and replies concern this key.
        """
        return f"provider:{self.provider}" if self.provider else f"site:{self.site}"


class Party(Struct, frozen=True):
    """The sender of a message."""

    client: str
    mailing_id: str
    sending_domain: str
    # The name of the source from which the message is sent; "" if no sources are configured.
    source: str = ""


def scope_key(scope: Scope, to: Destination, sender: Party, source: str) -> str:
    """Return the key of a reply's scope.

    The key of every scope except a site ends with the key of the destination.

    `source` is the local address. The key contains this address if the source has no name.
    """
    match scope:
        case Scope.SITE:
            return f"site:{to.site}"
        case Scope.PROVIDER:
            return to.key
        case Scope.SOURCE:
            return f"source:{sender.source or source}@{to.key}"
        case Scope.CLIENT:
            return f"client:{sender.client}@{to.key}"
        case Scope.SENDING_DOMAIN:
            return f"sending_domain:{sender.sending_domain}@{to.key}"


def keys_of(to: Destination, sender: Party) -> tuple[str, ...]:
    """Return all keys whose suspension holds back this sender's mail to this destination.

    The key of the source is included only if the source has a name.
    """
    named = (f"source:{sender.source}@{to.key}",) if sender.source else ()
    return (
        to.key,
        f"site:{to.site}",
        f"domain:{to.domain}",
        f"client:{sender.client}",
        f"mailing:{sender.client}/{sender.mailing_id}",
        f"client:{sender.client}@{to.key}",
        f"sending_domain:{sender.sending_domain}@{to.key}",
        *named,
    )
