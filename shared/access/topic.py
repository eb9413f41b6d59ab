"""Reads and writes mail.access and mail.access-log for commands.

Each record is written by an idempotent producer with acks=all, and a command returns when the
record is acknowledged. Two commands write a record of the same key only if both revoke the key. So
the order of these two records does not matter. All functions raise PartUnavailable if Kafka does
not answer. In this case the record may have been written nevertheless.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import msgspec
from kafka.errors import KafkaError
from msgspec import structs

from shared.access.checking import Action, AuditEntry, decode_entry, encode_entry
from shared.access.keys import (
    AccessKey,
    KeyText,
    decode_record,
    encode_record,
    hash_of,
    new_key,
)
from shared.runtime.clock import Deadline
from shared.runtime.errors import PartUnavailable, UsageError
from shared.settings.sections import KafkaSettings
from shared.stream.admin import TopicError, ensure_topics
from shared.stream.client import client_options, make_producer
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.topics import names

PARTITION: Final = 0
# Every process holds all keys in memory, so their number is bounded.
MAX_KEYS: Final = 10_000
# A revoked key is listed for this time after its revocation; then its record is removed.
KEPT_MS: Final = 400 * 86_400_000
READ_TIMEOUT_S: Final = 30.0
WRITE_TIMEOUT_S: Final = 20.0
_POLL_MS: Final = 200


def create_key(kafka: KafkaSettings, wanted: AccessKey) -> tuple[KeyText, AccessKey]:
    """Create a key and write its record. `wanted` has all data except the id and the secret.

    Only this function returns the text of the key. Raises UsageError if there are too many keys.
    """
    present = read_keys(kafka)
    now_ms = wanted.created_at_ms
    old = [key.id for key in present.values() if 0 < key.revoked_at_ms < now_ms - KEPT_MS]
    if len(present) - len(old) >= MAX_KEYS:
        raise UsageError(f"there are {len(present)} access keys; revoke some of them first")
    text = new_key()
    made = structs.replace(wanted, id=text.id, secret_hash=hash_of(text))
    with _writing(kafka) as write:
        write(names.ACCESS, text.id.encode(), encode_record(made))
        write(names.ACCESS_LOG, text.id.encode(), encode_entry(_entry(Action.CREATED, made)))
        for key in old:
            write(names.ACCESS, key.encode(), None)
    return text, made


def revoke_key(kafka: KafkaSettings, key: str, by: str, now_ms: int) -> AccessKey:
    """Revoke a key permanently. Raises UsageError if there is no such key."""
    found = read_keys(kafka).get(key)
    if found is None:
        raise UsageError(f"there is no access key {key!r}: `sluice billing keys list` shows all")
    if found.revoked_at_ms:
        return found
    revoked = structs.replace(found, secret_hash=b"", revoked_at_ms=now_ms, revoked_by=by)
    with _writing(kafka) as write:
        write(names.ACCESS, key.encode(), encode_record(revoked))
        write(names.ACCESS_LOG, key.encode(), encode_entry(_entry(Action.REVOKED, revoked)))
    return revoked


def read_keys(kafka: KafkaSettings) -> dict[str, AccessKey]:
    """Return all keys by id; keys whose records cannot be read are left out."""
    found: dict[str, AccessKey] = {}
    for record in _records(kafka, names.ACCESS):
        apply_record(found, record)
    return found


def read_log(kafka: KafkaSettings, most: int) -> list[AuditEntry]:
    """Return at most `most` lines from the end of the audit log; the oldest line is first."""
    found: list[AuditEntry] = []
    for record in _records(kafka, names.ACCESS_LOG, most):
        if isinstance(record, UndecodableRecord) or record.value is None:
            continue
        try:
            found.append(decode_entry(record.value))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
    return found


def apply_record(keys: dict[str, AccessKey], record: Any) -> str:
    """Apply a record of mail.access; return "", or the reason why the record cannot be read.

    If a record cannot be read, its key is removed, because the record may revoke the key.
    """
    name = (record.key or b"").decode("utf-8", "replace")
    try:
        if isinstance(record, UndecodableRecord):
            raise ValueError("the batch cannot be decoded")  # noqa: TRY301, TRY004
        if record.value is None:
            keys.pop(name, None)
        else:
            keys[name] = decode_record(name, record.value)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        keys.pop(name, None)
        return str(error)
    return ""


def _entry(action: Action, key: AccessKey) -> AuditEntry:
    is_new = action is Action.CREATED
    return AuditEntry(
        action,
        key.created_at_ms if is_new else key.revoked_at_ms,
        key.id,
        by=key.created_by if is_new else key.revoked_by,
        name=key.name,
        scope=key.scope.described(),
        rights=key.rights,
        expires_at_ms=key.expires_at_ms,
    )


def _records(kafka: KafkaSettings, topic: str, most: int = 0) -> Iterator[Any]:
    """Yield the records up to the present end of the topic.

    If `most` is not 0, only the last `most` records are read.
    """
    try:
        with closing(LogReader(client_options(kafka, f"access-{os.getpid()}"), topic)) as reader:
            if PARTITION not in reader.partitions():
                return
            ends = reader.ends([PARTITION])
            first = reader.begins([PARTITION])[PARTITION]
            reader.read_from({PARTITION: max(first, ends[PARTITION] - most) if most else first})
            deadline = Deadline(READ_TIMEOUT_S)
            while not reader.has_reached(ends):
                if deadline.is_over():
                    reason = f"{topic} was not read in {READ_TIMEOUT_S:g} s"
                    raise PartUnavailable("Kafka", kafka.bootstrap, reason)
                yield from reader.poll(_POLL_MS).get(PARTITION, ())
    except KafkaError as error:
        raise PartUnavailable("Kafka", kafka.bootstrap, str(error)) from error


@contextmanager
def _writing(kafka: KafkaSettings) -> Iterator[Callable[[str, bytes, bytes | None], None]]:
    try:
        wanted = (names.ACCESS, names.ACCESS_LOG)
        ensure_topics(kafka, [plan for plan in names.plans(()) if plan.name in wanted])
        options = client_options(kafka, f"access-{os.getpid()}")
        with closing(make_producer(options, None, linger_ms=0)) as producer:

            def write(topic: str, key: bytes, value: bytes | None) -> None:
                producer.send(topic, value, key, [], PARTITION).get(timeout=WRITE_TIMEOUT_S)

            yield write
    except (KafkaError, TopicError) as error:
        raise PartUnavailable("Kafka", kafka.bootstrap, str(error)) from error
