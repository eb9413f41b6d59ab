"""Turns the settings of TLS and SASL into the configuration of every Kafka client.

Owns: reading what the settings name, once when a process starts, so that a wrong file stops it with
one line; and the warnings about settings that are allowed but weak. Does not own: which settings
contradict each other (shared/settings/kafka.py).

Certificates, keys and passwords are read again for each new connection, tokens are fetched again:
a rotation needs no restart. Connections that are open stay open, with what they began with.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from shared.settings.kafka import OAUTH, SASL, TLS, KafkaSettings
from shared.settings.secret_files import SecretFile, TlsFiles, require_secrets, require_tls
from shared.stream.kafka_python.sasl import read_passwords_from_files
from shared.stream.oauth import Endpoint, TokenProvider

log = logging.getLogger(__name__)

Config = dict[str, Any]
_PASSWORD_KEYS: Final = ("sasl_password_file", "oauth_client_secret_file")


def client_config(kafka: KafkaSettings) -> Config:
    """Return what kafka-python needs for these settings.

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
    """Return what to say once about settings that are allowed but weak."""
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
    """Log those warnings; a service calls it when it starts."""
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
