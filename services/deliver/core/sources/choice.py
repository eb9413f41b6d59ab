"""In which order a message takes the sources of its pool. Pure.

Weighted rendezvous hashing (Schindelhauer and Schomaker, 2005): each source gets a score from the
hash of the mail id and its name, divided by its weight. So a message keeps its source over all
attempts, on every worker, without any state: a server that greylists knows it again. A source that
is added or removed moves its own share only.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import Final

from services.deliver.core.sources.table import Pool, Source

_RANGE: Final = 2**64


def order(pool: Pool, mail_id: str) -> list[Source]:
    """The sources of a pool, the one of this message first; the others stand in for it."""
    if len(pool.members) == 1:
        return [pool.members[0][0]]
    scored = [(_score(mail_id, one.name, weight), one.name, one) for one, weight in pool.members]
    return [one for _, _, one in sorted(scored, key=lambda row: row[:2])]


def _score(mail_id: str, name: str, weight: int) -> float:
    digest = blake2b(f"{mail_id} {name}".encode(), digest_size=8).digest()
    return -math.log((int.from_bytes(digest, "big") + 1) / (_RANGE + 1)) / weight
