"""`sluice shaping`, as an operator runs it."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from services.deliver.cli.shaping import group
from services.deliver.core.shaping.suspensions import Suspension
from shared.settings.redis import RedisSettings
from shared.store.client import NO_RETRY, connect_async
from shared.store.suspensions import SharedState, SuspensionStore
from tests.support.patience import PATIENT


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(group, words)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


@pytest.fixture
def tag(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    tag = f"{{limits:{secrets.token_hex(6)}}}"
    monkeypatch.setenv("SLUICE_REDIS__URL", redis_url)
    monkeypatch.setenv("SLUICE_REDIS__LIMITS_KEY", tag)
    monkeypatch.setenv("SLUICE_DELIVER__ROUTES", '{"*": "127.0.0.1:2525"}')
    return tag


def suspend(url: str, tag: str, key: str) -> None:
    async def write() -> None:
        client = connect_async(RedisSettings(url=url), retry=NO_RETRY, **PATIENT)
        state = Suspension(key, 1.0, until=4e9, lasted_s=1.0, strikes=1, reason="421 too much")
        text = msgspec.json.encode(state)
        await SuspensionStore(client, tag, 60.0).exchange(SharedState(key, text, state.until))
        await client.aclose()

    asyncio.run(write())


def test_explain_shows_each_limit_its_origin_and_what_is_suspended(
    redis_url: str, tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[client.shop]\nmessages = '7/s'\n")
    monkeypatch.setenv("SLUICE_DELIVER__SHAPING_FILE", str(path))
    monkeypatch.setenv("COLUMNS", "400")  # a long path is cut in a narrow terminal
    suspend(redis_url, tag, "provider:google")
    code, text = run("explain", "gmail.com", "--client", "shop")
    assert code == 0
    assert f"{path} [client.shop]" in text
    assert "providers.toml [provider.google]" in text
    assert "provider:google: suspended until 2096-10-02 07:06:40 UTC: 421 too much" in text
    code, text = run("explain", "gmail.com", "--client", "shop", "--json")
    assert code == 0
    assert json.loads(text)["found"]["suspensions"][0]["until"] == 4e9


def test_explain_works_without_redis_and_says_so(tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_REDIS__URL", "redis://127.0.0.1:1/0")
    code, text = run("explain", "r.example")
    assert code == 0
    assert "the suspensions could not be read: Redis" in text


def test_explain_refuses_what_is_no_domain(tag: str) -> None:
    said = "sluice: 'no domain' is not a domain such as example.com\n"
    assert run("explain", "no domain") == (2, said)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("[default]\nconnections = 5\n", 0, "no faults"),
        ("[default]\nconnections = 'x'\n", 1, "default.connections: found 'x', expected"),
    ],
)
def test_check_names_each_fault(tmp_path: Path, text: str, code: int, said: str) -> None:
    path = tmp_path / "my-shaping.toml"
    path.write_text(text)
    found = run("check", str(path))
    assert found[0] == code
    assert said in found[1]


@pytest.mark.usefixtures("tag")
def test_explain_shows_the_limits_of_a_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[source.mx2.provider.google]\nmessages = '500 in 24h'\n")
    monkeypatch.setenv("SLUICE_DELIVER__SHAPING_FILE", str(path))
    code, text = run("explain", "gmail.com", "--source", "mx2", "--json")
    assert code == 0
    rows = [row for row in json.loads(text)["found"]["limits"] if row["key"].startswith("source:")]
    assert [(row["key"], row["value"]) for row in rows] == [
        ("source:mx2@provider:google", "500 in 1d")
    ]
    code, text = run("explain", "gmail.com", "--json")
    assert "source:" not in text
