"""Redis with TLS, client certificates and an ACL user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.settings.sections import RedisSettings
from shared.store.client import StoreUnavailable, connect, store_errors
from shared.store.eviction import policy_client, policy_fault, read_eviction
from tests.support import secured_redis
from tests.support.authority import Authority
from tests.support.secured_redis import PASSWORD, USER


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("redis-tls"))
    made.issue("client")
    (made.folder / "password").write_text(f"{PASSWORD}\n")
    (made.folder / "wrong").write_text("wrong\n")
    return made


@pytest.fixture(scope="module")
def plain_url(authority: Authority) -> Iterator[str]:
    with secured_redis.running(authority.folder / "plain", authority) as url:
        yield url


@pytest.fixture(scope="module")
def mutual_url(authority: Authority) -> Iterator[str]:
    with secured_redis.running(authority.folder / "mutual", authority, is_mutual=True) as url:
        yield url


def settings(authority: Authority, url: str, **given: str) -> RedisSettings:
    folder = authority.folder
    chosen = {
        "tls_ca_file": str(authority.ca),
        "username": USER,
        "password_file": str(folder / "password"),
        **{key: str(folder / value) if value else "" for key, value in given.items()},
    }
    return RedisSettings(url=url, **chosen)


CERTIFICATE = {"tls_certificate_file": "client.pem", "tls_key_file": "client.key"}


def test_the_user_may_do_what_the_services_need(authority: Authority, plain_url: str) -> None:
    client = connect(settings(authority, plain_url))
    assert client.set("{sluice:billing}:cells", "1")
    assert client.eval("return redis.call('get', KEYS[1])", 1, "{sluice:billing}:cells") == "1"
    assert read_eviction(client).policy == "noeviction"
    with pytest.raises(StoreUnavailable, match="permission"), store_errors():
        client.get("another:key")


def test_a_client_certificate_is_presented(authority: Authority, mutual_url: str) -> None:
    assert connect(settings(authority, mutual_url, **CERTIFICATE)).ping()


@pytest.mark.parametrize(
    ("url", "given", "reason"),
    [
        ("plain_url", {"tls_ca_file": "other.pem"}, "not signed by a trusted CA"),
        ("plain_url", {"password_file": "wrong"}, "invalid username-password"),
        ("mutual_url", {}, "requires a client certificate|closed by server"),
    ],
)
def test_a_refusal_has_its_reason_in_one_line(
    authority: Authority,
    url: str,
    given: dict[str, str],
    reason: str,
    request: pytest.FixtureRequest,
) -> None:
    Authority(authority.folder, "other")
    client = connect(settings(authority, request.getfixturevalue(url), **given))
    with pytest.raises(StoreUnavailable, match=reason) as raised, store_errors():
        client.ping()
    assert "\n" not in str(raised.value)
    assert PASSWORD not in str(raised.value)


def test_a_changed_password_file_is_used_from_the_next_connection_on(
    authority: Authority, plain_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("wrong")
    client = connect(settings(authority, plain_url, password_file=str(file)))
    with pytest.raises(StoreUnavailable), store_errors():
        client.ping()
    file.unlink()
    with pytest.raises(StoreUnavailable, match="no such file"), store_errors():
        client.ping()
    file.write_text(PASSWORD)
    assert client.ping()


def test_the_policy_is_read_over_tls(authority: Authority, plain_url: str) -> None:
    assert policy_fault(policy_client(settings(authority, plain_url))) == ""
