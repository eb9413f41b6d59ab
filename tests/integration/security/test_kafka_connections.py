"""Every way to reach a broker, and one clear reason for each that fails."""

from __future__ import annotations

import logging
import re
import threading

import pytest

from shared.settings.sections import KafkaSettings
from shared.stream.client import client_options, make_admin, make_consumer, make_producer
from shared.stream.reachability import Brokers
from tests.support.secured_place import (
    CA,
    OTHER,
    TLS,
    Place,
    oauth,
    over_tls,
    plain,
    refusal,
    scram,
    settings,
    ways,
)
from tests.support.smtp_peers import wait_until


@pytest.mark.parametrize(
    "way",
    ["TLS", "mTLS", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "SCRAM without TLS", "OAUTHBEARER"],
)
def test_every_client_reaches_a_broker(place: Place, way: str) -> None:
    options = client_options(ways(place)[way], "test")
    admin = make_admin(options, 10_000)
    consumer = make_consumer(options, None)
    producer = make_producer(options, f"test.{way}")
    try:
        admin.list_topics()
        consumer.topics()
        producer.init_transactions()
    finally:
        for each in (admin, consumer, producer):
            each.close()


def test_one_token_serves_all_clients_of_a_process(place: Place) -> None:
    before = place.tokens.requests
    options = client_options(ways(place)["OAUTHBEARER"], "test")
    for _ in range(3):
        make_admin(options, 10_000).close()
    assert place.tokens.requests - before == 1
    assert place.tokens.scopes[-1] == "kafka"


def failures(place: Place) -> dict[str, tuple[KafkaSettings, str]]:
    tls = {"security_protocol": TLS, "tls_ca_file": CA}
    refused = "it refuses the client certificate"
    stranger = place.certificate("stranger", place.other)
    unsupported = {"security_protocol": "SASL_PLAINTEXT", **scram(256)}
    return {
        "another CA": (
            settings(place, "ssl", security_protocol=TLS, tls_ca_file=OTHER),
            "not signed by a trusted CA",
        ),
        "expired": (settings(place, "expired", **tls), "its certificate has expired"),
        "no TLS": (settings(place, "ssl"), "it expects TLS on this port"),
        "TLS to a plain port": (
            settings(place, "clear", **tls),
            "it does not speak TLS|it closed the connection|timed out",
        ),
        "no certificate": (settings(place, "mtls", **tls), f"{refused}|requires a client"),
        "a stranger's": (settings(place, "mtls", **tls, **stranger), f"{refused}|not trust"),
        "an expired one": (
            settings(place, "mtls", **tls, **place.certificate("stale")),
            f"{refused}|has expired",
        ),
        "PLAIN": (settings(place, "login", **over_tls(**plain("wrong_password"))), "the login: "),
        "SCRAM": (
            settings(place, "login", **over_tls(**scram(256, "wrong_password"))),
            "the login: .*invalid credentials",
        ),
        "mechanism": (settings(place, "clear", **unsupported), "the login: .*SaslMechanism"),
        "OAUTHBEARER": (
            settings(place, "oauth", **over_tls(**oauth(place, "wrong_password"))),
            "cannot log in: no token from http://.*: it answers 401 invalid_client who are you",
        ),
    }


@pytest.mark.parametrize(
    "case",
    [
        *("another CA", "expired", "no TLS", "TLS to a plain port", "no certificate"),
        *("a stranger's", "an expired one", "PLAIN", "SCRAM", "mechanism", "OAUTHBEARER"),
    ],
)
def test_a_refusal_is_one_line_with_its_reason_and_few_attempts(
    place: Place, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    found, reason = failures(place)[case]
    others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
    said = ""

    def is_told() -> bool:
        nonlocal said
        caplog.clear()
        said = refusal(client_options(found, "test"))
        return re.search(reason, said) is not None

    wait_until(is_told, f"{case}: {reason}")
    assert "\n" not in said
    # Clients of other tests may look for their brokers meanwhile.
    logged = [one for one in caplog.records if one.thread not in others]
    attempts = [one for one in logged if "Bootstrap connection" in one.getMessage()]
    assert 1 <= len(attempts) <= 6
    assert not any(one.exc_info and one.levelno >= logging.ERROR for one in logged)


def test_ready_says_why_no_broker_can_be_used(place: Place) -> None:
    found, reason = failures(place)["SCRAM"]
    brokers = Brokers(client_options(found, "test"), ("mail.events",), ())
    told = f"no broker can be used at {found.bootstrap}: it refuses the login: "
    wait_until(lambda: brokers.look().startswith(told), "the reason is known")
    assert reason


def test_a_host_name_is_checked_unless_the_settings_say_otherwise(place: Place) -> None:
    tls = {"security_protocol": TLS, "tls_ca_file": CA}
    found = settings(place, "elsewhere", **tls)
    reason = "certificate is for another host name"
    wait_until(lambda: reason in refusal(client_options(found, "test")), "it is refused")
    unchecked = settings(place, "elsewhere", **tls, tls_check_host_name=False)
    make_admin(client_options(unchecked, "test"), 10_000).close()
