"""Which settings of TLS, login and replication contradict each other."""

from __future__ import annotations

import pytest
from msgspec import Struct

from shared.settings.loader import SettingsError, load
from shared.settings.sections import KafkaSettings, RedisSettings


class Model(Struct, frozen=True):
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()


SCRAM = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_username": "u",
    "sasl_password_file": "/p",
}
OAUTH = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "OAUTHBEARER",
    "oauth_token_url": "https://login.example/token",
    "oauth_client_id": "c",
    "oauth_client_secret_file": "/s",
}
MUTUAL = {
    "security_protocol": "SSL",
    "tls_ca_file": "/ca",
    "tls_certificate_file": "/c",
    "tls_key_file": "/k",
}
SAFE = {"allow_low_replication": "false", "replication": "3"}


def kafka(settings: dict[str, str]) -> KafkaSettings:
    environ = {f"SLUICE_KAFKA__{key.upper()}": value for key, value in settings.items()}
    return load(Model, environ).settings.kafka


@pytest.mark.parametrize(
    "settings",
    [
        {},
        MUTUAL,
        {"security_protocol": "SSL"},
        SCRAM,
        {**SCRAM, "security_protocol": "SASL_PLAINTEXT"},
        {**SCRAM, **{key: MUTUAL[key] for key in ("tls_certificate_file", "tls_key_file")}},
        OAUTH,
        {**OAUTH, "oauth_scope": "kafka", "oauth_token_url": "http://127.0.0.1:9/t"},
        SAFE,
        {**SAFE, "min_insync_replicas": "2"},
        {"replication": "2", "min_insync_replicas": "2"},
    ],
)
def test_settings_that_fit_together_are_taken(settings: dict[str, str]) -> None:
    assert kafka(settings).bootstrap


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"tls_ca_file": "/ca"}, "kafka.tls_ca_file set, but kafka.security_protocol is PLAINTEXT"),
        ({**SCRAM, "security_protocol": "SSL"}, "kafka.sasl_mechanism, kafka.sasl_username"),
        ({"security_protocol": "SASL_SSL"}, "SASL_SSL without kafka.sasl_mechanism"),
        ({**MUTUAL, "tls_certificate_file": ""}, "kafka.tls_key_file set without"),
        ({**MUTUAL, "tls_key_file": ""}, "kafka.tls_certificate_file set without"),
        ({**SCRAM, "sasl_username": ""}, "SCRAM-SHA-512 without kafka.sasl_username"),
        ({**SCRAM, "sasl_password_file": ""}, "without kafka.sasl_password_file"),
        ({**SCRAM, "oauth_scope": "s"}, "does not use kafka.oauth_scope"),
        ({**OAUTH, "sasl_username": "u"}, "does not use kafka.sasl_username"),
        ({**OAUTH, "oauth_client_id": ""}, "OAUTHBEARER without kafka.oauth_client_id"),
        ({**OAUTH, "oauth_token_url": "http://a.example/"}, "the scheme is https"),
        ({**OAUTH, "oauth_token_url": "https://u:p@a.example/"}, "without a user"),
        ({**OAUTH, "oauth_token_url": "https://a.example:x/"}, "not a URL"),
        ({**OAUTH, "oauth_token_url": "/token"}, "name a host"),
        ({"security_protocol": "TLS"}, "found 'TLS', expected one of .*SASL_SSL"),
        ({"replication": "1", "min_insync_replicas": "2"}, "nothing could be written"),
        ({"allow_low_replication": "false"}, "kafka.replication is 1, expected 3 or more"),
        ({**SAFE, "min_insync_replicas": "1"}, "kafka.min_insync_replicas is 1, expected 2"),
        (
            {**SAFE, "topic_configs": '{"mail.*": {"min.insync.replicas": "1"}}'},
            r"sets min.insync.replicas of mail.\* to 1",
        ),
    ],
)
def test_a_contradiction_is_refused_with_the_keys(settings: dict[str, str], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as raised:
        kafka(settings)
    assert len(raised.value.faults) == 1


TLS_URL = "rediss://h:1/0"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"tls_ca_file": "/ca"}, "redis.tls_ca_file set, but redis.url has no TLS"),
        (
            {"url": f"{TLS_URL}?ssl_ca_certs=/x", "tls_ca_file": "/ca"},
            "ssl_ca_certs in redis.url; expected one of them",
        ),
        ({"url": TLS_URL, "tls_certificate_file": "/c"}, "without redis.tls_key_file"),
        ({"url": TLS_URL, "tls_key_file": "/k"}, "without redis.tls_certificate_file"),
        ({"username": "u"}, "redis.username set without redis.password_file"),
        ({"url": "redis://:p@h:1/0", "password_file": "/p"}, "a login in redis.url"),
        ({"url": "redis://h:1/0?password=p", "password_file": "/p"}, "a login in redis.url"),
    ],
)
def test_a_contradiction_about_redis_is_refused(settings: dict[str, str], reason: str) -> None:
    environ = {f"SLUICE_REDIS__{key.upper()}": value for key, value in settings.items()}
    with pytest.raises(SettingsError, match=reason):
        load(Model, environ)
