"""Configures all Kafka clients: their speed, exactly-once processing, TLS and SASL.

The values were chosen by measurement: batches of 1 MB, no metrics, a small retry back-off, and
fetches that end after 1 MB or 50 ms. With the default back-off of 100 ms, a transaction of 50
events takes 140 ms. With 20 ms, it takes 35 ms. Idempotence, isolation and auto-commit are set
explicitly, because kafka-python otherwise silently uses weaker values.

When a process starts, this module checks that the files of TLS and SASL can be read, and warns
about settings that are allowed but weak. If a file cannot be used, the process ends with a one-line
message. This module does not own the check for settings that contradict each other
(shared/settings/kafka.py). For each new connection, certificates, keys and passwords are read
again, and tokens are fetched again. So a rotation needs no restart. Open connections keep their old
credentials.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import TopicPartition
from msgspec import Struct, structs

from shared.settings.kafka import OAUTH, SASL, TLS
from shared.settings.secret_files import SecretFile, TlsFiles, require_secrets, require_tls
from shared.settings.sections import KafkaSettings, RuntimeSettings
from shared.stream.kafka_python.closing import ClosingClient, make_client
from shared.stream.kafka_python.decoders import generate_one_at_a_time
from shared.stream.kafka_python.fetching import bound_fetches
from shared.stream.kafka_python.lost_connections import soften_lost_connections
from shared.stream.kafka_python.producing import keep_requests
from shared.stream.kafka_python.quick_transport import try_before_waiting
from shared.stream.kafka_python.quiet_selector import QuietSelector
from shared.stream.kafka_python.sasl import read_passwords_from_files
from shared.stream.kafka_python.sparing_trips import spare_look_ups
from shared.stream.oauth import Endpoint, TokenProvider

log = logging.getLogger(__name__)

BATCH_BYTES: Final = 1024 * 1024
# An intake record of up to 8 MB may have to be copied to mail.refused.
MAX_REQUEST_BYTES: Final = 10 * 1024 * 1024
FETCH_MIN_BYTES: Final = 1024 * 1024
FETCH_WAIT_MS: Final = 50
FETCH_MAX_BYTES: Final = 16 * 1024 * 1024
PARTITION_FETCH_BYTES: Final = 8 * 1024 * 1024
# A worker pauses a partition until its next record is due, and records that were already fetched
# stay in memory. So this size is smaller than PARTITION_FETCH_BYTES.
WORKER_FETCH_BYTES: Final = 1024 * 1024
RETRY_BACKOFF_MS: Final = 10
RECONNECT_MAX_MS: Final = 1_000
# A member must poll within this time. A rebalance waits for a slow member up to this time.
MAX_POLL_INTERVAL_MS: Final = 60_000
SESSION_TIMEOUT_MS: Final = 10_000
HEARTBEAT_MS: Final = 2_000
# If the owner of a transaction dies, the broker aborts the transaction after this time. The next
# process with the same id may end the transaction earlier. The time is longer than any outage of
# the brokers: docs/decisions/0005-transaction-timeout.md.
TRANSACTION_TIMEOUT_MS: Final = 900_000
METADATA_AGE_MS: Final = 2_000
BOOTSTRAP_MS: Final = 5_000

Config = dict[str, Any]
_PASSWORD_KEYS: Final = ("sasl_password_file", "oauth_client_secret_file")


class ClientOptions(Struct, frozen=True):
    """The brokers as `host:port[,host:port]`, and the instance name of this process.

    `static` makes the consumer a static member (KIP-345). If a static member dies, a new process
    with the same instance name takes over at once. If a dynamic member dies, the group waits for
    the session time-out. `security` is kafka-python's configuration of TLS and SASL. `in_sync` is
    the setting `kafka.min_insync_replicas`. `heartbeat_ms` is shorter in tests that change groups,
    because a member detects a change of its group at its next heartbeat. `partition_fetch_bytes`
    limits the bytes that a consumer fetches from one partition at a time, and keeps in memory while
    the partition is paused.
    """

    bootstrap: str
    instance: str
    compression: str = "lz4"
    static: bool = False
    security: dict[str, Any] = {}
    in_sync: int = 0
    heartbeat_ms: int = HEARTBEAT_MS
    partition_fetch_bytes: int = PARTITION_FETCH_BYTES


def options_of(kafka: KafkaSettings, runtime: RuntimeSettings) -> ClientOptions:
    """Build the client options from the settings of a process. Raises SettingsError."""
    return structs.replace(client_options(kafka, runtime.instance), static=kafka.static_membership)


def client_options(kafka: KafkaSettings, instance: str) -> ClientOptions:
    """Build the options of a client that is not a static member. Raises SettingsError.

    Call this function once and keep the options, because each call reads the files again. Only
    clients that are created from the same options share an access token.
    """
    return ClientOptions(
        bootstrap=kafka.bootstrap,
        instance=instance,
        compression="" if kafka.compression == "none" else kafka.compression,
        security=client_config(kafka),
        in_sync=kafka.min_insync_replicas,
    )


def _common(options: ClientOptions, role: str) -> dict[str, Any]:
    generate_one_at_a_time()
    soften_lost_connections()
    try_before_waiting()
    return {
        "bootstrap_servers": options.bootstrap.split(","),
        "client_id": f"sluice-{role}-{options.instance}",
        "metrics_enabled": False,
        "retry_backoff_ms": RETRY_BACKOFF_MS,
        "reconnect_backoff_ms": 50,
        "reconnect_backoff_max_ms": RECONNECT_MAX_MS,
        "bootstrap_timeout_ms": BOOTSTRAP_MS,
        "allow_auto_create_topics": False,
        "selector": QuietSelector,
        "kafka_client": ClosingClient,
        **options.security,
    }


def make_producer(options: ClientOptions, transactional_id: str | None, **overrides: Any) -> Any:
    """Create a producer that writes each record exactly once. With an id, it is transactional.

    Raises kafka.errors.KafkaError when no broker answers within BOOTSTRAP_MS.
    """
    config: dict[str, Any] = {
        **_common(options, "producer"),
        "enable_idempotence": True,
        "transactional_id": transactional_id,
        "transaction_timeout_ms": TRANSACTION_TIMEOUT_MS,
        "compression_type": options.compression or None,
        "batch_size": BATCH_BYTES,
        "linger_ms": 20,
        "max_request_size": MAX_REQUEST_BYTES,
        "request_timeout_ms": 15_000,
        "max_block_ms": 15_000,
    }
    producer = make_client(KafkaProducer, **{**config, **overrides})
    keep_requests(producer)
    return producer


def make_consumer(options: ClientOptions, group: str | None, **overrides: Any) -> KafkaConsumer:
    """Create a consumer that reads only committed records and never commits by itself."""
    config: dict[str, Any] = {
        **_common(options, "consumer"),
        "group_id": group,
        "group_instance_id": options.instance if options.static and group else None,
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
        "auto_offset_reset": "earliest",
        "partition_assignment_strategy": [CooperativeStickyAssignor],
        "max_poll_interval_ms": MAX_POLL_INTERVAL_MS,
        "session_timeout_ms": SESSION_TIMEOUT_MS,
        "heartbeat_interval_ms": options.heartbeat_ms,
        "metadata_max_age_ms": METADATA_AGE_MS,
        "fetch_min_bytes": FETCH_MIN_BYTES,
        "fetch_max_wait_ms": FETCH_WAIT_MS,
        "fetch_max_bytes": FETCH_MAX_BYTES,
        "max_partition_fetch_bytes": options.partition_fetch_bytes,
    }
    consumer = make_client(KafkaConsumer, **{**config, **overrides})
    bound_fetches(consumer)
    spare_look_ups(consumer)
    return consumer


def make_admin(options: ClientOptions, timeout_ms: int, **overrides: Any) -> Any:
    """Create a KafkaAdminClient with this request time-out. The caller must close() it.

    Raises kafka.errors.KafkaError when no broker answers, or all brokers refuse this client.
    """
    generate_one_at_a_time()
    soften_lost_connections()
    try_before_waiting()
    config = {
        "bootstrap_servers": options.bootstrap.split(","),
        "request_timeout_ms": timeout_ms,
        "reconnect_backoff_max_ms": RECONNECT_MAX_MS,
        **options.security,
    }
    return make_client(KafkaAdminClient, **{**config, **overrides})


def position_of(consumer: Any, partition: TopicPartition, timeout_ms: int) -> int:
    """Return the offset of the next record, or -1 if it is unknown. Raises KafkaError."""
    found = consumer.position(partition, timeout_ms=timeout_ms)
    return -1 if found is None else int(found)


def client_config(kafka: KafkaSettings) -> Config:
    """Return kafka-python's configuration of TLS and SASL for these settings.

    Raises SettingsError if a file cannot be used.
    """
    protocol = kafka.security_protocol
    config: Config = {}
    if protocol != "PLAINTEXT":
        config["security_protocol"] = protocol
    if protocol in TLS:
        config |= _tls(kafka)
    if protocol in SASL:
        config |= _sasl(kafka)
    return config


def warnings_of(kafka: KafkaSettings) -> list[str]:
    """Return a warning for each setting that is allowed but weak."""
    said = []
    if kafka.security_protocol == "SASL_PLAINTEXT":
        sent = "passwords" if kafka.sasl_mechanism == "PLAIN" else "credentials and mail"
        said.append(
            f"kafka.security_protocol is SASL_PLAINTEXT: {sent} cross the network unencrypted;"
            " SASL_SSL encrypts them"
        )
    if kafka.security_protocol in TLS and not kafka.tls_check_host_name:
        said.append(
            "kafka.tls_check_host_name is false: anyone with a certificate of the same CA can"
            " impersonate a broker"
        )
    return said


def log_warnings(kafka: KafkaSettings) -> None:
    """Log the warnings about weak settings. A service calls this when it starts."""
    for text in warnings_of(kafka):
        log.warning(text)


def _tls(kafka: KafkaSettings) -> Config:
    files = TlsFiles(kafka.tls_ca_file, kafka.tls_certificate_file, kafka.tls_key_file)
    require_tls("kafka", files)
    return {
        "ssl_check_hostname": kafka.tls_check_host_name,
        "ssl_cafile": files.ca or None,
        "ssl_certfile": files.certificate or None,
        "ssl_keyfile": files.key or None,
    }


def _sasl(kafka: KafkaSettings) -> Config:
    require_secrets("kafka", {key: getattr(kafka, key) for key in _PASSWORD_KEYS})
    config: Config = {"sasl_mechanism": kafka.sasl_mechanism}
    if kafka.sasl_mechanism == OAUTH:
        endpoint = Endpoint(
            kafka.oauth_token_url,
            kafka.oauth_client_id,
            SecretFile(kafka.oauth_client_secret_file),
            kafka.oauth_scope,
            kafka.tls_ca_file,
        )
        return {**config, "sasl_oauth_token_provider": TokenProvider(endpoint)}
    read_passwords_from_files()
    return {
        **config,
        "sasl_plain_username": kafka.sasl_username,
        "sasl_plain_password": SecretFile(kafka.sasl_password_file),
    }
