"""Maps a recipient's domain to its lane and to a partition of the lane's topic. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

from shared.topics.codec import PACK_MAX_MESSAGES, packs
from shared.topics.records import Message

DEFAULT_LANE = "default"


def domain_of(address: str) -> str:
    """Return the domain of an address that has passed the rules."""
    return address.rpartition("@")[2].lower()


class Lanes:
    """The lanes of the installation: one for each big mailbox provider, with the provider's
    domains."""

    def __init__(self, domains_by_lane: Mapping[str, Iterable[str]]) -> None:
        self._lane_by_domain = {
            domain.lower(): lane for lane, domains in domains_by_lane.items() for domain in domains
        }
        self.names: tuple[str, ...] = tuple(sorted({DEFAULT_LANE, *domains_by_lane}))

    def __contains__(self, lane: str) -> bool:
        return lane in self.names

    def lane_of_client(self, lane: str, domain: str) -> str:
        """Return the lane for a client's mail to `domain`; `lane` is the lane in the client's
        registry entry.

        If the lane in the entry is not configured, it has no topic, so the mail uses the lane
        `default`.
        """
        if not lane:
            return self.lane_of(domain)
        return lane if lane in self else DEFAULT_LANE

    def lane_of(self, domain: str) -> str:
        """Return the lane of a domain; `default` if no lane lists the domain."""
        return self._lane_by_domain.get(domain, DEFAULT_LANE)


def pack_by_partition(
    messages: Iterable[Message], partitions: int
) -> list[tuple[int, list[Message]]]:
    """Put the messages of one lane into packs; yield each pack with its partition.

    The mail of one domain goes to one partition. But if a domain fills more than one pack in this
    batch, its packs are distributed to all partitions in turn.
    """
    by_partition: dict[int, list[Message]] = {}
    seen: dict[str, int] = {}
    for message in messages:
        domain = domain_of(message.envelope.recipient)
        count = seen.get(domain, 0)
        seen[domain] = count + 1
        partition = (zlib.crc32(domain.encode()) + count // PACK_MAX_MESSAGES) % partitions
        by_partition.setdefault(partition, []).append(message)
    return [(partition, pack) for partition, part in by_partition.items() for pack in packs(part)]
