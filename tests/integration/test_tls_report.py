"""TLS counts in a real Redis, and the command that shows them; policies shared there."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from click.testing import CliRunner, Result

from cli.tls.command import main
from services.deliver.core.tls.policy import StsMode, StsPolicy
from services.deliver.core.tls.sts import KnownPolicy
from services.deliver.edge.tls.policy_sources import PREFIX, RedisPolicies
from shared.settings.sections import RedisSettings
from shared.store.client import connect, connect_async
from shared.store.tls_counts import TlsCount, add_counts, read_counts

# No test sends mail on this day.
DAY = "2020-02-29"
GOOD = TlsCount("report.example", "sts", "success")
BAD = TlsCount("report.example", "sts", "certificate-expired")
OTHER = TlsCount("report2.example", "tlsa", "success")


@pytest.fixture
def redis_settings(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> RedisSettings:
    monkeypatch.setenv("SLUICE_REDIS__URL", redis_url)
    return RedisSettings(url=redis_url)


def report(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", *arguments])


def test_counts_of_several_processes_are_added_and_shown(redis_settings: RedisSettings) -> None:
    async def add() -> None:
        client = connect_async(redis_settings)
        await add_counts(client, DAY, {GOOD: 2, OTHER: 1})
        await add_counts(client, DAY, {GOOD: 3, BAD: 1})
        await client.aclose()

    before = read_counts(connect(redis_settings), DAY).get(GOOD, 0)
    assert before == 0
    asyncio.run(add())
    assert read_counts(connect(redis_settings), DAY) == {GOOD: 5, BAD: 1, OTHER: 1}
    shown = report("--day", DAY, "--domain", "report.example", "--json")
    assert shown.exit_code == 0, shown.output
    rows = [
        {"domain": "report.example", "policy": "sts", "result": result, "attempts": number}
        for result, number in (("certificate-expired", 1), ("success", 5))
    ]
    assert msgspec.json.decode(shown.stdout) == {"day": DAY, "rows": rows}
    assert "report2.example" in report("--day", DAY).stdout


def test_a_day_without_mail_is_empty_and_a_wrong_day_is_said(
    redis_settings: RedisSettings,
) -> None:
    shown = report("--day", "2001-01-01", "--json")
    assert msgspec.json.decode(shown.stdout) == {"day": "2001-01-01", "rows": []}
    wrong = report("--day", "yesterday")
    assert wrong.exit_code == 2
    assert "'yesterday' is not a day such as 2026-12-01" in wrong.output


def test_an_unavailable_redis_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_REDIS__URL", "redis://127.0.0.1:9/0")
    shown = report()
    assert shown.exit_code == 3
    assert len(shown.stderr.splitlines()) == 1


def test_a_policy_is_shared_and_a_broken_or_missing_one_is_none(
    redis_settings: RedisSettings,
) -> None:
    known = KnownPolicy(StsPolicy(StsMode.ENFORCE, 86_400, ("mx.d.example",)), "1", 1e9)

    async def test() -> None:
        client = connect_async(redis_settings)
        store = RedisPolicies(client)
        assert await store.load("shared.example") is None
        await store.save("shared.example", known)
        assert await store.load("shared.example") == known
        assert 0 < await client.ttl(f"{PREFIX}shared.example") <= 86_400
        await client.set(f"{PREFIX}shared.example", "{")
        assert await store.load("shared.example") is None
        away = RedisPolicies(connect_async(RedisSettings(url="redis://127.0.0.1:9/0")))
        await away.save("shared.example", known)
        assert await away.load("shared.example") is None
        await client.aclose()

    asyncio.run(test())
