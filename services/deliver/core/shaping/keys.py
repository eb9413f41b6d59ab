"""The names of what a limit or a suspension concerns. Pure.

A message concerns all keys of its destination and of its sender; operators' verbs use the same.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Scope(StrEnum):
    """What a reply is about."""

    SITE = "site"
    PROVIDER = "provider"
    SOURCE = "source"
    CLIENT = "client"
    SENDING_DOMAIN = "sending_domain"


class Destination(Struct, frozen=True, cache_hash=True):
    """Where a message goes. `provider` is "" if its servers belong to none that is known."""

    domain: str
    site: str
    provider: str = ""
    is_override: bool = False

    @property
    def key(self) -> str:
        """The provider, or the site if there is none: what limits and replies are about."""
        return f"provider:{self.provider}" if self.provider else f"site:{self.site}"


class Party(Struct, frozen=True):
    """Who sends a message."""

    client: str
    mailing_id: str
    sending_domain: str
    # The name of the source address it is sent from; "" if none are configured.
    source: str = ""


def scope_key(scope: Scope, to: Destination, sender: Party, source: str) -> str:
    """The key of a reply's scope; all but the site's are at the destination's provider.

    `source`: the local address, for mail of a source without a name.
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
    """Return all keys whose suspension concerns a message.

    The key of the source is among them only if the source has a name.
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
