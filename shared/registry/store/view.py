"""Provides a live view of the registry by following mail.clients from its beginning.

A separate thread reads the topic without a consumer group, and changes become visible within a
second. While Kafka is unavailable, the view stays unchanged and the thread tries to reconnect.
After a reconnect, the topic is read again from the beginning into a new view, which replaces the
old view when the new view is complete. If the topic was recreated, the view stays unchanged until
the topic has a record. After that, the content of the topic replaces the view. A record that cannot
be decoded is logged and counted, and its client stays unchanged.

The view needs the memory of one registry. While the topic is read again, it needs the memory of two
registries.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Final

from kafka.errors import KafkaError
from msgspec import Struct

from shared.registry.client import Client, is_forgotten
from shared.registry.store.log import Reading
from shared.runtime.clock import Clock, Deadline, SystemClock
from shared.runtime.errors import PartUnavailable
from shared.runtime.threads import EnduringThread, RunsThread
from shared.settings.sections import KafkaSettings
from shared.stream.client import client_options
from shared.topics.names import CLIENTS

log = logging.getLogger(__name__)

_EMPTY: Final = (
    f"{CLIENTS} was created again and is empty: the clients known before stay registered until "
    "`sluice clients apply` registers clients"
)


class ClientView(RunsThread):
    """A view of the registered clients. All methods may be called from any thread."""

    def __init__(
        self, kafka: KafkaSettings, instance: str = "registry", clock: Clock | None = None
    ) -> None:
        self._options = client_options(kafka, instance)
        self._clock = clock or SystemClock()
        self._clients: dict[str, Client] = {}
        self._by_domain: dict[str, str] = {}
        self._kept: dict[str, Client] = {}
        self._changed = threading.Condition()
        self._whole = False
        self._asked = 0  # The number of calls of refresh() so far.
        self._answered = 0  # The number of calls of refresh() that are answered.
        self._logged = ""
        self._thread = EnduringThread(
            "client-view", self._follow, expected=(KafkaError,), failed=self._failed
        )
        self.unreadable = 0

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the topic has been read to its end once. Return False if this takes longer
        than `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._whole, timeout_s)

    def ready(self) -> bool:
        """Return True if the topic has been read to its end once."""
        return self._whole

    def check(self) -> str:
        """Return the reason why the registry has not been read to its end yet, for /ready. Return
        "" when it has been read."""
        return "" if self._whole else f"{CLIENTS} has not been read yet"

    def get(self, name: str) -> Client | None:
        """Return the registered client with this name."""
        return self._clients.get(name)

    def by_domain(self, domain: str) -> Client | None:
        """Return the client with this sending domain, which must be in lower-case A-labels."""
        client = self._clients.get(self._by_domain.get(domain, ""))
        # The reading thread may have stored a client, but not the client's domain yet.
        return client if client is not None and client.sending_domain == domain else None

    def removed(self, name: str) -> Client | None:
        """Return the removed client with this name, unless it is forgotten or a registered client
        has the same name."""
        client = self._kept.get(name)
        if client is None or name in self._clients:
            return None
        return None if is_forgotten(client, self._clock.now_ms()) else client

    def removed_by_domain(self, domain: str) -> Client | None:
        """Return the removed client that had this sending domain.

        The method searches all removed clients, because there are few of them and mail for an
        unknown domain is rare.
        """
        names = [c.name for c in self._kept.copy().values() if c.sending_domain == domain]
        return next(filter(None, map(self.removed, names)), None)

    def refresh(self, timeout_s: float) -> bool:
        """Wait until the view has reached the present end of the topic. Return False if this takes
        longer than `timeout_s`.

        A refresh takes about 0.1 s, so call this method only once per batch.
        """
        with self._changed:
            self._asked += 1
            mine = self._asked
            return self._changed.wait_for(lambda: self._answered >= mine, timeout_s)

    def names(self) -> tuple[str, ...]:
        """Return the names of all clients, sorted."""
        return tuple(sorted(self._clients.copy()))

    def clients(self) -> Mapping[str, Client]:
        """Return a copy of all clients by name."""
        return self._clients.copy()

    def _failed(self, reason: str) -> None:
        if reason != self._logged:
            log.warning("the registry cannot be read", extra={"reason": reason})
        self._logged = reason

    def _follow(self) -> None:
        """Read the topic from its beginning, and then new records until close(). Raises
        KafkaError."""
        reading = Reading(self._options)
        try:
            asked = self._asked
            self._read_to_end(reading)
            if self._clients and not reading.end_offset():
                raise KafkaError(_EMPTY)
            with self._changed:
                self._clients, self._by_domain = reading.clients, reading.by_domain
                self._kept = reading.kept
                self._whole, self._answered = True, asked
                self._changed.notify_all()
            log.debug("registry read", extra={"clients": len(reading.clients)})
            while not self._thread.is_closing:
                if self._asked > self._answered:
                    asked = self._asked
                    self._read_to_end(reading)
                    with self._changed:
                        self._answered = asked
                        self._changed.notify_all()
                self._poll(reading)
        finally:
            reading.close()

    def _read_to_end(self, reading: Reading) -> None:
        end = reading.end_offset()
        while reading.position() < end and not self._thread.is_closing:
            self._poll(reading)

    def _poll(self, reading: Reading) -> None:
        before = reading.unreadable
        reading.poll()
        self.unreadable += reading.unreadable - before


class Loaded(Struct, frozen=True):
    """The registered clients and the removed clients that are not forgotten, by name."""

    clients: dict[str, Client]
    removed: dict[str, Client]


def load_registry(kafka: KafkaSettings, timeout_s: float = 15.0) -> dict[str, Client]:
    """Read the registered clients once. Raises PartUnavailable."""
    return load_all(kafka, timeout_s).clients


def load_known(kafka: KafkaSettings) -> dict[str, Client]:
    """Read the registered clients and the removed clients that are not forgotten, both by name."""
    found = load_all(kafka)
    return found.removed | found.clients


def load_all(kafka: KafkaSettings, timeout_s: float = 15.0) -> Loaded:
    """Read the registered and the removed clients once. Raises PartUnavailable."""
    try:
        reading = Reading(client_options(kafka, "registry"))
        try:
            if reading.has_topic() and not reading.read_to_end(Deadline(timeout_s)):
                raise PartUnavailable(
                    "Kafka", kafka.bootstrap, f"{CLIENTS} could not be read in time"
                )
        finally:
            reading.close()
    except KafkaError as error:
        raise PartUnavailable("Kafka", kafka.bootstrap, str(error)) from error
    now_ms = SystemClock().now_ms()
    kept = {name: each for name, each in reading.kept.items() if not is_forgotten(each, now_ms)}
    return Loaded(reading.clients, kept)
