"""`sluice dkim`: making keys, their states, their records and what the DNS has of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from cli.dkim import command
from cli.dkim.command import main
from cli.dkim.keys import (
    ANY_DOMAIN,
    Published,
    State,
    TxtRecord,
    check_record,
    record_of,
    states_of,
    zone_line,
)
from cli.dkim.rotation import RotationError, Wanted, new_keys, start_time
from services.deliver.edge.signing.signer import KeyFollower
from shared.mailauth.dkim_keys.table import ED25519, RSA, TABLE, Key, KeyEntry
from shared.mailauth.spf.evaluation import Away, Rows
from tests.support.dkim_verifying import key_of

NOW = datetime(2026, 11, 29, 12, 0, 0, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
ENTRY = KeyEntry("s1", "f.pem", domain="news.shop.example")


def dkim(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def answer(*arguments: str | Path) -> object:
    result = dkim(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return msgspec.json.decode(result.stdout)


def test_a_rotation_makes_keys_that_deliver_loads(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    result = dkim("rotate", "--folder", folder, "--domain", "News.Shop.example", "--after", "0s")
    assert result.exit_code == 0, result.output
    assert folder.stat().st_mode & 0o777 == 0o700
    chosen = KeyFollower(str(folder)).index.choose("any", "news.shop.example", 2e9)
    assert [key.algorithm for key in chosen] == [RSA, ED25519]
    for key in chosen:
        assert (folder / key.entry.file).stat().st_mode & 0o777 == 0o600
        assert f"{key.entry.selector}._domainkey.news.shop.example. IN TXT " in result.output
    assert "PRIVATE" not in result.output


def test_without_a_folder_the_keys_go_where_deliver_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUICE_DELIVER__DKIM_KEYS", str(tmp_path / "keys"))
    assert dkim("rotate", "--after", "0s").exit_code == 0
    assert [each.name for each in tmp_path.iterdir()] == ["keys"]
    assert answer("list")
    monkeypatch.setenv("SLUICE_DELIVER__DKIM_KEYS", "")
    assert "set deliver.dkim_keys" in dkim("list").output
    monkeypatch.setenv("SLUICE_DELIVER__DKIM_KEYS", " x")
    refused = dkim("list")
    assert refused.exit_code == 2
    assert "white space" in refused.output


def test_a_second_rotation_on_the_same_day_replaces_the_first_at_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "now_ms", lambda: round(NOW.timestamp() * 1000))
    dkim("rotate", "--folder", tmp_path, "--algorithm", "ed25519", "--after", "0s")
    before = KeyFollower(str(tmp_path)).index
    at = NOW.replace(microsecond=0) + 240 * HOUR
    dkim("rotate", "--folder", tmp_path, "--algorithm", "ed25519", "--at", at.isoformat())
    after = KeyFollower(str(tmp_path)).index
    at_s = at.timestamp()
    (old,) = before.choose("", "", at_s)
    assert [key.entry for key in after.choose("", "", at_s - 1)] == [old.entry]
    (new,) = after.choose("", "", at_s)
    assert new.entry.selector == f"{old.entry.selector}-2"
    rows = msgspec.convert(answer("list", "--folder", tmp_path), list[dict[str, str]])
    assert [row["state"] for row in rows] == ["signs", "waits"]
    assert rows[1]["active_from"] == f"{at:%Y-%m-%d %H:%M:%S}Z"


def test_a_key_that_an_earlier_rotation_replaces_soon_is_said_to_be(tmp_path: Path) -> None:
    ed25519 = ("rotate", "--folder", tmp_path, "--algorithm", "ed25519")
    waiting = msgspec.convert(answer(*ed25519, "--after", "48h"), dict[str, Any])
    assert "until" not in waiting["keys"][0]
    shown = dkim(*ed25519, "--after", "0s").output.splitlines()[0]
    (row,) = waiting["keys"]
    assert (
        f"when {Path(row['file']).name} replaces it (unless you delete that from keys.toml)"
        in shown
    )
    (made,) = msgspec.convert(answer(*ed25519, "--after", "1h"), dict[str, Any])["keys"]
    assert made["replaced_by"] == Path(row["file"]).name
    # Keys of another scope or kind take nothing over.
    for other in (("--algorithm", "rsa"), ("--domain", "d.example")):
        keys = msgspec.convert(answer(*ed25519, *other, "--after", "1h"), dict[str, Any])["keys"]
        assert all("until" not in key for key in keys)


def test_a_client_that_nobody_can_be_named_gets_no_key(tmp_path: Path) -> None:
    result = dkim("rotate", "--folder", tmp_path / "keys", "--client", "../../x")
    assert result.exit_code == 2
    assert "--client: '../../x' is not the name of a client" in result.output
    assert not (tmp_path / "keys").exists()


def test_a_folder_with_a_wrong_table_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / TABLE).write_text("[[key")
    result = dkim("rotate", "--folder", tmp_path)
    assert result.exit_code == 2
    assert "it is not TOML" in result.output
    assert [path.name for path in tmp_path.iterdir()] == [TABLE]


@pytest.mark.parametrize("verb", ["list", "dns"])
def test_a_folder_without_a_table_is_said(verb: str, tmp_path: Path) -> None:
    result = dkim(verb, "--folder", tmp_path)
    assert result.exit_code == 2
    assert f"{tmp_path / TABLE}: No such file or directory" in result.output


TIMES = [
    ("24h", "", NOW + 24 * HOUR),
    ("90m", "", NOW + 1.5 * HOUR),
    ("0s", "", NOW),
    ("", "", NOW + 24 * HOUR),
    ("366d", "", NOW + 366 * 24 * HOUR),
    ("", "2026-12-01T00:00:00+01:00", datetime(2026, 11, 30, 23, tzinfo=UTC)),
    ("", "2026-11-29T12:00:00Z", NOW),
]


@pytest.mark.parametrize(("after", "at", "expected"), TIMES)
def test_the_start_is_a_delay_or_a_time(after: str, at: str, expected: datetime) -> None:
    assert start_time(after, at, NOW) == expected.replace(microsecond=0)


@pytest.mark.parametrize(
    ("after", "at", "reason"),
    [
        ("tomorrow", "", "not a duration such as"),
        ("-1h", "", "not a duration such as"),
        ("", "tomorrow", "not a time such as"),
        ("", "2026-12-01T00:00:00", "no zone"),
        ("", "0001-01-01T00:00:00+23:00", "cannot be converted to UTC"),
        ("1h", "2026-12-01T00:00:00Z", "use either --after or --at, not both"),
        (
            "",
            "2026-11-29T11:59:59Z",
            "'2026-11-29T11:59:59Z' is in the past; to sign from now on, use --after 0s",
        ),
        ("367d", "", "--after: '367d' is more than 366d from now"),
        ("", "2036-12-01T00:00:00Z", "--at: '2036-12-01T00:00:00Z' is more than 366d"),
    ],
)
def test_a_wrong_start_is_refused(after: str, at: str, reason: str) -> None:
    with pytest.raises(RotationError, match=reason):
        start_time(after, at, NOW)


def test_new_names_are_free_and_keep_to_letters_that_files_may_have() -> None:
    wanted = Wanted("../shop ü", "", (ED25519,), 2048, NOW)
    ((first, _),) = new_keys(wanted, (), NOW)
    assert first.selector == "s20261129-ed25519"
    assert first.file == "_shop__.s20261129-ed25519.pem"
    ((second, _),) = new_keys(wanted, (first,), NOW)
    assert second.selector == "s20261129-ed25519-2"
    assert second.file != first.file


def test_each_key_has_a_state() -> None:
    entries = [
        KeyEntry("ended", "f", active_until=NOW),
        KeyEntry("replaced", "f"),
        KeyEntry("signs", "f", active_from=NOW - HOUR),
        KeyEntry("waits", "f", active_from=NOW + HOUR),
    ]
    keys = [Key(entry, ED25519, key_of(ED25519)) for entry in entries]
    found = states_of(keys, NOW.timestamp())
    assert [state.state.value for state in found] == [each.entry.selector for each in keys]
    assert [state.is_needed for state in found] == [False, False, True, True]
    assert set(State) == {state.state for state in found}


@pytest.mark.parametrize("algorithm", [RSA, ED25519])
def test_a_record_is_cut_into_strings_that_the_dns_takes(algorithm: str) -> None:
    record = record_of(ENTRY, key_of(algorithm))
    line = zone_line(record)
    strings = line.split('"')[1::2]
    assert line.startswith("s1._domainkey.news.shop.example. IN TXT ")
    assert "".join(strings) == record.text
    assert max(map(len, strings)) <= 255
    assert (len(strings) > 1) == ("( " in line) == (algorithm == RSA)


RECORD = record_of(ENTRY, key_of(ED25519))
OTHER = record_of(ENTRY, key_of(RSA)).text
DNS = [
    (Rows((RECORD.text,)), Published.YES),
    (Rows((RECORD.text.replace("p=", "t=s; p= "),)), Published.YES),
    (Rows(), Published.NO),
    (Rows((), exists=False), Published.NO),
    (Rows((OTHER,)), Published.OTHER),
    (Rows(("v=DKIM1; k=ed25519; p=",)), Published.OTHER),
    (Rows(("v=spf1 -all",)), Published.OTHER),
    (Rows((RECORD.text, OTHER)), Published.OTHER),
    (Away("SERVFAIL"), Published.UNKNOWN),
]


@pytest.mark.parametrize(("rows", "expected"), DNS)
def test_the_dns_is_compared_with_the_record(rows: Rows | Away, expected: Published) -> None:
    asked: list[tuple[str, str]] = []

    def look_up(name: str, kind: str) -> Rows | Away:
        asked.append((name, kind))
        return rows

    assert check_record(RECORD, look_up).published is expected
    assert asked == [("s1._domainkey.news.shop.example", "TXT")]


def test_a_record_without_a_domain_is_not_asked_for() -> None:
    record = record_of(KeyEntry("s1", "f"), key_of(ED25519))
    assert record == TxtRecord(f"s1._domainkey.{ANY_DOMAIN}", RECORD.text)

    def fail(name: str, kind: str) -> Rows:
        raise AssertionError(name)

    assert check_record(record, fail).published is Published.UNASKED


def test_records_are_printed_for_each_domain_that_is_named(tmp_path: Path) -> None:
    dkim("rotate", "--folder", tmp_path, "--algorithm", "ed25519", "--client", "shop")
    domains = ("--domain", "a.example", "--domain", "b.example")
    rows = msgspec.convert(
        answer("dns", "--print", "--folder", tmp_path, *domains), list[dict[str, str]]
    )
    assert [row["name"].partition("._domainkey.")[2] for row in rows] == ["a.example", "b.example"]
    assert len({row["value"] for row in rows}) == 1
