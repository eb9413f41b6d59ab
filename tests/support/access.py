"""Access keys without Kafka, for tests of the code that uses keys."""

from __future__ import annotations

from shared.access.checking import Denial, Grant, check
from shared.access.keys import AccessKey, KeyText, Right, Scope, hash_of, new_key
from shared.http_api.keyed import AccessPolicy
from shared.runtime.clock import FakeClock


class FakeKeys:
    """Keys that a test makes. `denied` has the entries of the audit log."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.records: dict[str, AccessKey] = {}
        self.denied: list[tuple[Denial, str]] = []
        self.unavailable = ""

    def make(
        self,
        client: str = "",
        sub_client: str | None = None,
        rights: tuple[str, ...] = (Right.BILLING_READ.value,),
    ) -> dict[str, str]:
        """Return a new key, as the headers of a request."""
        key = new_key()
        self.put(key, AccessKey(key.id, hash_of(key), rights, Scope(client, sub_client)))
        return {"Authorization": f"Bearer {key}"}

    def put(self, key: KeyText, record: AccessKey) -> None:
        self.records[key.id] = record

    def check(self, header: str | None) -> Grant | Denial:
        return check(header, self.records, self.clock.now_ms())

    def fault(self) -> str:
        return self.unavailable

    def deny(self, denial: Denial, peer: str) -> None:
        self.denied.append((denial, peer))


def open_policy() -> AccessPolicy:
    """Return a policy that serves all requests without a key."""
    return AccessPolicy(FakeKeys(), FakeClock(), is_open=True)
