"""Secrets and certificates are read again: a rotation needs no restart of a process."""

from __future__ import annotations

import shutil
from pathlib import Path

from msgspec import structs

from shared.settings.sections import KafkaSettings
from shared.stream.client import ClientOptions, client_options, make_admin
from shared.stream.reachability import Brokers
from tests.support.secured_place import Place, add_users, refusal, ways
from tests.support.smtp_peers import wait_until
from tests.support.token_endpoint import TokenEndpoint, serving

NEW = "a new one"


def test_a_changed_password_file_is_used_from_the_next_connection_on(
    place: Place, tmp_path: Path
) -> None:
    add_users(place.secured, {"rotated": "SCRAM-SHA-512"}, "old")
    file = tmp_path / "password"
    file.write_text("old\n")
    base = ways(place)["SCRAM-SHA-512"]
    kafka = structs.replace(base, sasl_username="rotated", sasl_password_file=str(file))
    options = client_options(kafka, "test")
    # The broker takes passwords from its controller, a moment after it has acknowledged them.
    wait_until(lambda: not refusal(options), "the password is known")
    add_users(place.secured, {"rotated": "SCRAM-SHA-512"}, NEW)
    wait_until(lambda: "refuses the login" in refusal(options), "it is known no more")
    file.write_text(f"{NEW}\n")
    make_admin(options, 10_000).close()


def test_a_process_recovers_by_itself_when_its_password_is_put_right(
    place: Place, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("wrong")
    kafka = structs.replace(ways(place)["SCRAM-SHA-512"], sasl_password_file=str(file))
    brokers = Brokers(client_options(kafka, "test"), (), ())
    wait_until(lambda: "refuses the login" in brokers.look(), "the login is refused")
    file.unlink()
    assert "cannot log in: " in brokers.look()
    shutil.copy(place.files.password, file)
    wait_until(lambda: not brokers.look(), "the brokers can be used")


def test_a_replaced_client_certificate_is_used_from_the_next_connection_on(
    place: Place, tmp_path: Path
) -> None:
    files = {key: Path(path) for key, path in place.certificate("stale").items()}
    for key, path in files.items():
        shutil.copy(path, tmp_path / key)
    chosen = {key: str(tmp_path / key) for key in files}
    kafka = structs.replace(ways(place)["mTLS"], **chosen)
    options = client_options(kafka, "test")
    wait_until(lambda: "client certificate" in refusal(options), "it is refused")
    for key, fresh in place.certificate("client").items():
        shutil.copy(fresh, tmp_path / key)
    make_admin(options, 10_000).close()


def test_a_rotated_client_secret_is_used_for_the_next_token(place: Place, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first")
    with serving(place.secured.token_key, "first") as tokens:
        kafka: KafkaSettings = structs.replace(
            ways(place)["OAUTHBEARER"],
            oauth_token_url=tokens.url,
            oauth_client_secret_file=str(secret),
        )
        tokens.life_s = 2  # renewed at half of it
        options = client_options(kafka, "test")
        # A busy broker gets a token after its end at times.
        wait_until(lambda: not refusal(options), "a token for the first secret")
        tokens.secret, before = "second", tokens.accepted
        secret.write_text("second")
        wait_until(lambda: _renews(options, tokens, before), "a token for the new secret")


def _renews(options: ClientOptions, tokens: TokenEndpoint, before: int) -> bool:
    return not refusal(options) and tokens.accepted > before
