"""Restores the submission keys from mail.submissions if Redis does not have all of them.

A thread restores the keys when it starts, and when want() requests a restore. Only the process
whose token is in Redis restores keys; the other processes wait. The keys are regarded as complete
when all records from before the restore have been read, including records of transactions that were
still open when the restore began.

The thread also checks the Redis server every LOOK_S. While the server may evict keys
(shared/store/eviction.py), store() returns None. When the server no longer evicts keys, the missing
keys are restored. While the server refuses writes, fault() returns the reason, even if there is no
key to claim.

If the process dies during a restore, its token expires and another process starts a new restore.
Keys that are already restored are overwritten with the same values.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final

import redis
from kafka.errors import KafkaError

from shared.runtime.clock import Clock
from shared.store.client import StoreUnavailable
from shared.store.eviction import read_eviction
from shared.store.submissions import Submissions, Window
from shared.stream.client import FETCH_MIN_BYTES, ClientOptions
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.topics.codec import CodecError
from shared.topics.names import SUBMISSIONS
from shared.topics.submission_keys import CLAIM_BYTES, decode_record

log = logging.getLogger(__name__)

# A transaction may be open when Redis loses the claims. Such a transaction writes the keys to the
# topic within this time.
SETTLE_S: Final = 2.0
RETRY_S: Final = 0.5
LOOK_S: Final = 1.0
MAX_KEYS: Final = 1_000
_POLL_MS: Final = 200
_CLOSE_TIMEOUT_S: Final = 10.0


class _Lost(Exception):
    """This restore is no longer valid, for example because another process has taken over."""


class _MayEvict(Exception):
    """The server may evict keys, so any key may be missing."""


class KeyRestorer:
    """Keeps the keys complete. store(), want() and fault() may be called from any thread."""

    def __init__(
        self,
        options: ClientOptions,
        client: redis.Redis,
        state: str,
        window: Window,
        clock: Clock,
    ) -> None:
        self._options = options
        self._client = client
        self._state = state
        self._window = window
        self._clock = clock
        self._store: Submissions | None = None
        self._wanted = threading.Event()
        self._wanted.set()
        self._closing = threading.Event()
        self._fault = f"{SUBMISSIONS} has not been read yet"
        self._may_evict = False
        self._thread = threading.Thread(target=self._run, name="submission-keys", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def store(self) -> Submissions | None:
        """Return the script for the current topic. Return None if the script must not be used; then
        fault() returns the reason."""
        return None if self._may_evict else self._store

    def want(self) -> None:
        """Request a restore because the keys are not complete."""
        self._fault = "the submission keys are lost and will be restored"
        self._wanted.set()

    def fault(self) -> str:
        """Return, for /ready, the reason why the keys cannot be used; "" if they can be used."""
        return self._fault

    def close(self) -> None:
        """Stop the thread and close its connections."""
        self._closing.set()
        self._wanted.set()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while True:
            self._wanted.wait(LOOK_S)
            if self._closing.is_set():
                return
            try:
                self._look()
                if not self._wanted.is_set():
                    self._fault = ""
                    continue
                if self._restore():
                    self._wanted.clear()
                    self._fault = ""
                    continue
                self._fault = "another process is restoring the submission keys"
            except _MayEvict as error:
                if str(error) != self._fault:
                    log.error(
                        "submission keys are not used, because Redis may evict them",
                        extra={"reason": str(error)},
                    )
                self._fault = str(error)
            except (KafkaError, StoreUnavailable) as error:
                self._fault = f"submission keys: {error}"
                log.warning("submission keys cannot be used", extra={"reason": str(error)})
            except Exception:
                # The thread must continue after an error in the client library.
                self._fault = "submission keys: see the log"
                log.exception("restoring the submission keys failed; it is tried again")
            self._closing.wait(RETRY_S)

    def _look(self) -> None:
        """Raises _MayEvict, StoreUnavailable."""
        found = read_eviction(self._client)
        if found.fault:
            self._may_evict = True
            raise _MayEvict(found.fault)
        if self._store is not None:
            self._store.require_writable()
            if self._store.forget_evicted(found):
                log.error("Redis has evicted keys: restoring the submission keys")
                self.want()
        # The flag is reset only now, when the keys are known to be complete or are marked as
        # incomplete. If the flag were reset earlier, a claim might miss an evicted key.
        self._may_evict = False

    def _restore(self) -> bool:
        """Restore the keys if needed; return False if the restore must be tried again."""
        store = self._store or self._opened()
        token = secrets.token_hex(8)
        match store.begin(token):
            case "taken":
                return False
            case "whole":
                self._store = store
                return True
        self._fault = "the submission keys are being restored"
        try:
            keys = self._read(store, token)
        except _Lost:
            return False
        if not store.finish(token):
            return False
        self._store = store
        log.info("submission keys restored", extra={"keys": keys})
        return True

    def _opened(self) -> Submissions:
        with closing(self._reader()) as reader:
            _partitions(reader)
            return Submissions(self._client, self._state, self._window, reader.topic_id())

    def _reader(self, *, is_committed: bool = True) -> LogReader:
        return LogReader(
            self._options, SUBMISSIONS, is_committed=is_committed, fetch_min_bytes=FETCH_MIN_BYTES
        )

    def _read(self, store: Submissions, token: str) -> int:
        """Restore all keys of the window and return their number. Raises _Lost."""
        with closing(self._reader()) as reader:
            partitions = _partitions(reader)
            if not store.is_of(reader.topic_id()):
                self._store = None  # the topic was recreated, so it has other keys
                raise _Lost
            ends = self._written(partitions)
            if any(ends.values()):
                self._closing.wait(SETTLE_S)
                ends = self._written(partitions)
            since_ms = self._clock.now_ms() - self._window.seconds * 1000
            reader.read_from({**ends, **reader.offsets_at(partitions, since_ms)})
            keys = 0
            while not reader.has_reached(ends):
                if self._closing.is_set():
                    raise _Lost
                for records in reader.poll(_POLL_MS).values():
                    keys += sum(self._put_back(store, token, record) for record in records)
                _hold(store, token, 0, b"")
            return keys

    def _written(self, partitions: Sequence[int]) -> dict[int, int]:
        """Return the end of each partition. The records of open transactions are before this
        end."""
        with closing(self._reader(is_committed=False)) as reader:
            return reader.ends(partitions)

    def _put_back(self, store: Submissions, token: str, record: Any) -> int:
        if isinstance(record, UndecodableRecord):
            return 0  # the fetcher has logged the error
        try:
            claims = decode_record(record.value)
        except CodecError as error:
            place = {"partition": record.partition, "offset": record.offset}
            log.error("submission keys cannot be read", extra={**place, "reason": str(error)})
            return 0
        step = MAX_KEYS * CLAIM_BYTES
        for start in range(0, len(claims), step):
            _hold(store, token, record.timestamp // 1000, claims[start : start + step])
        return len(claims) // CLAIM_BYTES


def _partitions(reader: LogReader) -> list[int]:
    partitions = reader.partitions()
    if not partitions:
        raise KafkaError(f"there is no topic {SUBMISSIONS}")
    return partitions


def _hold(store: Submissions, token: str, at_s: int, claims: bytes) -> None:
    if not store.restore(token, at_s, claims):
        raise _Lost
