"""Defines a registered client: its permitted submissions, billing, limits and parents.

Client is also the type of the JSON value in the records of mail.clients. New fields may be added if
they have a default, and no field may be removed. This module also owns the quotas of a client and
its sub-clients, and the family of a client. The family is the client, its parent, the parent of the
parent, and so on. Reading and checking clients.yaml is in clients_file.py. This module does no I/O.

A family has at most MAX_PARENTS parents, and no client occurs twice in it. `clients apply` refuses
longer chains and cycles. If another program has written such records, this module cuts the chain.
The name of a parent belongs to the family even if the parent is not registered. The reason is that
recipients who are suppressed for this parent must get no mail, even if the parent is registered
later or was removed. The block list and the parent of an unregistered parent are unknown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from functools import cached_property
from typing import Final

import msgspec
from msgspec import Struct, structs

from shared.mail.verp import mailing_hash
from shared.registry.credentials import Credential
from shared.registry.removal import Removal
from shared.topics.quotas import QuotaScope
from shared.topics.records import MailClass, OnDoubt

# A version has 32 bits. This is enough to distinguish the few versions of an entry, and short
# enough for every event.
VERSION_CHARS: Final = 8
REMOVED_PREFIX: Final = "removed/"
DEFAULT_MAX_AGE_S: Final = 5 * 86_400
MAX_PARENTS: Final = 5


class Returns(StrEnum):
    """The kinds of messages that a client gets at its forwarding address."""

    BOUNCES = "bounces"  # Reports about messages that were not delivered.
    REFUSED = "refused"  # Messages that break a rule or belong to no mailing.
    SUPPRESSED = "suppressed"  # Messages to suppressed recipients.


class OverQuota(StrEnum):
    """The treatment of mail that exceeds a client's monthly quota."""

    WARN = "warn"  # The mail is sent, and events are published.
    HOLD = "hold"  # The mail waits for the next month or a higher quota.
    REFUSE = "refuse"


class Code(Struct, frozen=True, omit_defaults=True):
    """One value of X-bm-mailing: its mailing, and the sub-client that is billed."""

    mailing_id: str
    sub_client: str = ""
    active: bool = True
    monthly_quota: int = 0  # The quota of the sub-client. 0 means that there is no quota.
    on_doubt: OnDoubt | None = None  # If None, the value of the client applies.


class Client(Struct, frozen=True, dict=True, omit_defaults=True):
    """One client. Domains are lower-case A-labels. `ips` are addresses or networks."""

    name: str
    sending_domain: str
    forwarding_address: str
    mailing_id: str
    codes: dict[str, Code] = {}
    ips: tuple[str, ...] = ()
    mail_class: MailClass = MailClass.MARKETING
    lane: str = ""  # If "", the recipient's domain determines the lane.
    block_list: tuple[str, ...] = ()
    hard_limit: int = 3
    soft_limit: int = 5
    max_age_s: int = DEFAULT_MAX_AGE_S  # An undelivered message of this age expires.
    # The newest credential is the first. The login name is `name`.
    credentials: tuple[Credential, ...] = ()
    max_connections: int = 0  # SMTP connections per front door. 0 means the installation's limit.
    # SMTP messages per front door. 0 means the installation's limit.
    max_messages_per_minute: int = 0
    own_events: bool = False  # The client's events are also written to mail.events.<name>.
    returns: tuple[Returns, ...] = (Returns.BOUNCES,)
    parent: str = ""  # The client whose suppressed recipients and block list are inherited.
    monthly_quota: int = 0  # The messages accepted for sending per month. 0 means no quota.
    over_quota: OverQuota = OverQuota.WARN
    on_doubt: OnDoubt = OnDoubt.SEND  # The treatment of a message in doubt.
    pool: str = ""  # If "", the mail class determines the pool of source addresses.
    # If set, the client was removed, and its record is kept for some time.
    removal: Removal | None = None

    @cached_property
    def active_codes(self) -> frozenset[str]:
        """Return the active codes. Submissions must not use other codes."""
        return frozenset(code for code, row in self.codes.items() if row.active)

    @cached_property
    def sub_client_quotas(self) -> dict[str, int]:
        """Return the monthly quotas, by sub-client."""
        return {
            row.sub_client: row.monthly_quota for row in self.codes.values() if row.monthly_quota
        }

    @cached_property
    def version(self) -> str:
        """Return a short hash of this entry. The hash is computed only once.

        The removal of a client does not change the hash, because the mail of a removed client is
        judged by the same entry as before.
        """
        entry = encode_client(structs.replace(self, removal=None))
        return hashlib.sha256(entry).hexdigest()[:VERSION_CHARS]

    @cached_property
    def _standard(self) -> Code:
        return Code(self.mailing_id)

    @cached_property
    def mailings(self) -> dict[bytes, Code]:
        """Return the standard mailing and the mailings of all codes, by the hash in return paths.

        Inactive codes are included, because mail with such a code may still come back.
        """
        return {
            mailing_hash(row.mailing_id, row.sub_client): row
            for row in (*self.codes.values(), self._standard)
        }

    def code(self, text: str) -> Code:
        """Return this code's entry, or the standard mailing if the code is unknown or inactive."""
        found = self.codes.get(text)
        return found if found is not None and found.active else self._standard


_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder(Client)


def encode_client(client: Client) -> bytes:
    """Return the value of the client's record on mail.clients."""
    return _encoder.encode(client)


def is_forgotten(client: Client, now_ms: int) -> bool:
    """Return False while the record of a removed client must be kept, otherwise True."""
    return client.removal is None or client.removal.is_over(now_ms)


def key_of(client: Client) -> str:
    """Return the key of the client's record on mail.clients.

    The key of a removed client is not a valid name, so a reader of an earlier version cannot read
    the record. Otherwise that reader would treat the client as registered.
    """
    return f"{REMOVED_PREFIX}{client.name}" if client.removal is not None else client.name


def decode_client(name: str, value: bytes) -> Client:
    """Decode the record with this key on mail.clients. Raises msgspec.DecodeError."""
    client = _decoder.decode(value)
    if key_of(client) != name:
        raise msgspec.DecodeError(
            f"the record with the key {name!r} contains the client {key_of(client)!r}"
        )
    return client


class Family(Struct, frozen=True):
    """The names of a client and its parents, and the registered parents. The nearest parent is
    first."""

    names: tuple[str, ...]
    parents: tuple[Client, ...] = ()


def family_of(client: Client, get: Callable[[str], Client | None]) -> Family:
    """Return the family of a client. `get` returns the registered client with a given name."""
    names, parents = [client.name], []
    above: Client | None = client
    while above is not None and above.parent and len(names) <= MAX_PARENTS:
        if above.parent in names:
            break
        names.append(above.parent)
        above = get(above.parent)
        if above is not None:
            parents.append(above)
    return Family(tuple(names), tuple(parents))


def fault_of(client: Client, get: Callable[[str], Client | None]) -> str:
    """Return the reason why the parent of a client is not valid. Return "" if the parent is valid
    or if there is no parent."""
    names, above = [client.name], client
    while above.parent:
        found = get(above.parent)
        if found is None:
            return f"there is no client {above.parent}"
        if found.name in names:
            return "a circle: " + " -> ".join([*names, found.name])
        if len(names) > MAX_PARENTS:
            return f"more than {MAX_PARENTS} parents above it"
        names.append(found.name)
        above = found
    return ""


class Limit(Struct, frozen=True):
    """A monthly quota, and the treatment of mail that exceeds the quota."""

    quota: int
    over_quota: OverQuota


def limits_of(client: Client) -> dict[QuotaScope, Limit]:
    """Return the quotas of a client and of its sub-clients."""
    found = {
        QuotaScope(client.name, sub_client): Limit(quota, client.over_quota)
        for sub_client, quota in client.sub_client_quotas.items()
    }
    if client.monthly_quota:
        found[QuotaScope(client.name)] = Limit(client.monthly_quota, client.over_quota)
    return found


def all_limits(clients: Iterable[Client]) -> dict[QuotaScope, Limit]:
    """Return the quotas of all clients."""
    return {scope: limit for client in clients for scope, limit in limits_of(client).items()}


def scopes_of(client: str, sub_client: str) -> Iterator[QuotaScope]:
    """Yield the scopes of the quotas in which mail of this client and sub-client is counted."""
    yield QuotaScope(client)
    yield QuotaScope(client, sub_client)
