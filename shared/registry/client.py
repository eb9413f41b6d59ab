"""A registered client: what it may submit, and how its mail is billed and limited.

Owns: the shape, which is also the JSON value of mail.clients (fields are only ever added,
with a default). Does not own: reading and checking clients.yaml (clients_file.py).
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from functools import cached_property
from typing import Final

import msgspec
from msgspec import Struct, structs

from shared.mail.verp import mailing_hash
from shared.registry.credentials import Credential
from shared.registry.removal import Removal
from shared.topics.records import MailClass, OnDoubt

# 32 bits: enough to tell apart the few versions that there are, short enough for each event.
VERSION_CHARS: Final = 8
REMOVED_PREFIX: Final = "removed/"
DEFAULT_MAX_AGE_S: Final = 5 * 86_400


class Returns(StrEnum):
    """What a client gets back at its forwarding address."""

    BOUNCES = "bounces"  # reports that a message was not delivered
    REFUSED = "refused"  # messages that break a rule or belong to no mailing
    SUPPRESSED = "suppressed"  # messages to recipients that get no more mail


class OverQuota(StrEnum):
    """What happens to a client's mail over a monthly quota."""

    WARN = "warn"  # it is sent; there are only events
    HOLD = "hold"  # it waits for the next month, or for a higher quota
    REFUSE = "refuse"


class Code(Struct, frozen=True, omit_defaults=True):
    """One value of X-bm-mailing: its mailing, and the sub-client that is billed."""

    mailing_id: str
    sub_client: str = ""
    active: bool = True
    monthly_quota: int = 0  # of the sub-client; 0: none
    on_doubt: OnDoubt | None = None  # None: as the client has it


class Client(Struct, frozen=True, dict=True, omit_defaults=True):
    """One client. Domains are lower-case A-labels; IPs are addresses or networks."""

    name: str
    sending_domain: str
    forwarding_address: str
    mailing_id: str
    codes: dict[str, Code] = {}
    ips: tuple[str, ...] = ()
    mail_class: MailClass = MailClass.MARKETING
    lane: str = ""  # "": chosen by the recipient's domain
    block_list: tuple[str, ...] = ()
    hard_limit: int = 3
    soft_limit: int = 5
    max_age_s: int = DEFAULT_MAX_AGE_S  # a message still undelivered then expires
    credentials: tuple[Credential, ...] = ()  # the newest first; the login name is `name`
    max_connections: int = 0  # open SMTP connections at one front door; 0: installation's limit
    max_messages_per_minute: int = 0  # by SMTP, at one front door; 0: installation's limit
    own_events: bool = False  # its events are also written to mail.events.<name>
    returns: tuple[Returns, ...] = (Returns.BOUNCES,)
    parent: str = ""  # the client whose suppressed recipients and block list it inherits
    monthly_quota: int = 0  # messages accepted to be sent per month; 0: none
    over_quota: OverQuota = OverQuota.WARN
    on_doubt: OnDoubt = OnDoubt.SEND  # what happens if a server may have a message already
    pool: str = ""  # of source addresses; "": chosen by the mail class
    removal: Removal | None = None  # set: the client was removed, and is kept for a while

    @cached_property
    def active_codes(self) -> frozenset[str]:
        """The codes that a submission may use now."""
        return frozenset(code for code, row in self.codes.items() if row.active)

    @cached_property
    def sub_client_quotas(self) -> dict[str, int]:
        """The monthly quotas of the sub-clients that have one."""
        return {
            row.sub_client: row.monthly_quota for row in self.codes.values() if row.monthly_quota
        }

    @cached_property
    def version(self) -> str:
        """A short hash of this entry; it is computed once per change of the entry.

        A removal changes nothing by which mail is judged.
        """
        entry = encode_client(structs.replace(self, removal=None))
        return hashlib.sha256(entry).hexdigest()[:VERSION_CHARS]

    @cached_property
    def _standard(self) -> Code:
        return Code(self.mailing_id)

    @cached_property
    def mailings(self) -> dict[bytes, Code]:
        """The standard mailing and those of all codes, by the hash in a return path.

        Codes that are not active count too: mail with them may still come back.
        """
        return {
            mailing_hash(row.mailing_id, row.sub_client): row
            for row in (*self.codes.values(), self._standard)
        }

    def code(self, text: str) -> Code:
        """Return the row of this code; the standard mailing ID if it is "" or not active."""
        found = self.codes.get(text)
        return found if found is not None and found.active else self._standard


_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder(Client)


def encode_client(client: Client) -> bytes:
    """Return the value of the client's record on mail.clients."""
    return _encoder.encode(client)


def is_forgotten(client: Client, now_ms: int) -> bool:
    """Whether the record of a removed client is kept no longer."""
    return client.removal is None or client.removal.is_over(now_ms)


def key_of(client: Client) -> str:
    """Return the key of the client's record on mail.clients.

    A removed client has a key that is no name: a reader of an earlier version, for which it would
    else be registered, cannot read the record.
    """
    return f"{REMOVED_PREFIX}{client.name}" if client.removal is not None else client.name


def decode_client(name: str, value: bytes) -> Client:
    """Decode the record of this key on mail.clients; raises msgspec.DecodeError."""
    client = _decoder.decode(value)
    if key_of(client) != name:
        raise msgspec.DecodeError(f"the record of {name!r} names {key_of(client)!r}")
    return client
