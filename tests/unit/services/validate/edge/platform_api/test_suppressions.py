"""Platforms list, explain, add and remove entries, and reset counters."""

from __future__ import annotations

import csv
import hashlib
import io

import pytest
from msgspec.structs import replace

from shared.responses.counting.counting import BounceCounter
from shared.topics.suppressions import (
    CounterReset,
    RecipientForm,
    Suppression,
    SuppressionReason,
)
from tests.support.platform_api import NOON_MS, Api

ANNA = "anna@isp.example"
HARD = SuppressionReason.HARD_BOUNCES
COMPLAINT = SuppressionReason.COMPLAINT
MANUAL = SuppressionReason.MANUAL


def many(client: str, count: int) -> list[Suppression]:
    return [Suppression(client, MANUAL, f"r{number:03d}@isp.example") for number in range(count)]


def test_an_entry_is_added_seen_and_removed(api: Api) -> None:
    found = api.ask("PUT", "/v1/suppressions/ANNA@isp.example?note=asked", json=None)
    assert (found.status_code, found.json()["reason"]) == (200, "manual")
    (entry,) = api.writer.records()
    assert isinstance(entry, Suppression)
    assert (entry.client, entry.recipient, entry.note, entry.at_ms) == (
        *("shop", ANNA, "asked"),
        NOON_MS,
    )
    assert entry.author.startswith("key ")
    listed = api.ask("GET", "/v1/suppressions").json()
    assert [each["recipient"] for each in listed["entries"]] == [ANNA]
    assert api.ask("DELETE", f"/v1/suppressions/{ANNA}").status_code == 204
    assert api.ask("GET", "/v1/suppressions").json()["entries"] == []
    assert api.ask("DELETE", f"/v1/suppressions/{ANNA}").status_code == 404


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("a%2Fb@isp.example", "a/b@isp.example"),
        ("%2Fc=de%2F%2Fs=x%2f@isp.example", "/c=de//s=x/@isp.example"),
        ("a%252Fb@isp.example", "a%2fb@isp.example"),
        ("a%2Fb%40isp.example", "a/b@isp.example"),
        ("b%C3%BCcher@isp.example", "bücher@isp.example"),
        ("a%3Fb@isp.example", "a?b@isp.example"),
        ("reset@isp.example", "reset@isp.example"),
    ],
)
def test_every_address_is_reached_percent_encoded(api: Api, path: str, address: str) -> None:
    assert api.ask("PUT", f"/v1/suppressions/{path}").json()["recipient"] == address
    found = api.ask("GET", f"/v1/suppressions/{path}?client=shop").json()
    assert (found["address"], found["reason"]) == (address, "manual")
    assert api.ask("GET", f"/v1/responses/{path}").json()["address"] == address
    assert api.ask("POST", f"/v1/responses/{path}/reset").json()["address"] == address
    assert api.ask("DELETE", f"/v1/suppressions/{path}").status_code == 204


@pytest.mark.parametrize("path", ["a/b@isp.example", "%FF@isp.example", "%2F", "a%00b@isp.example"])
def test_what_is_no_address_is_not_found_or_refused(api: Api, path: str) -> None:
    assert api.ask("PUT", f"/v1/suppressions/{path}").status_code in (400, 404)
    assert not api.writer.written


def test_a_complaint_cannot_be_removed_by_a_client(api: Api) -> None:
    api.suppress(Suppression("shop", COMPLAINT, ANNA), Suppression("shop", MANUAL, ANNA))
    found = api.ask("DELETE", f"/v1/suppressions/{ANNA}")
    assert (found.status_code, "complained" in found.json()["detail"]) == (409, True)
    assert not api.writer.written


def test_a_removal_covers_hashes_and_resets_the_counter(api: Api) -> None:
    digest = hashlib.sha256(ANNA.encode()).hexdigest()
    api.suppress(
        Suppression("shop", HARD, ANNA, count=3),
        Suppression("shop", SuppressionReason.IMPORTED, digest, RecipientForm.SHA256),
        Suppression("bank", HARD, ANNA),
    )
    assert api.ask("DELETE", f"/v1/suppressions/{ANNA}").status_code == 204
    records = api.writer.records()
    assert all(each.client == "shop" for each in records)
    assert sum(isinstance(each, CounterReset) for each in records) == 1
    assert {each.reason for each in records if isinstance(each, Suppression)} == {
        HARD,
        SuppressionReason.IMPORTED,
    }


@pytest.mark.parametrize("limit", [1, 7, 40, 100])
def test_pages_have_every_entry_once_and_in_order(api: Api, limit: int) -> None:
    api.suppress(*many("shop", 40), *many("bank", 3))
    found, cursor = [], ""
    while True:
        page = api.ask("GET", f"/v1/suppressions?limit={limit}&cursor={cursor}").json()
        found += [each["recipient"] for each in page["entries"]]
        cursor = page["next"]
        if not cursor:
            break
    assert found == [each.recipient for each in many("shop", 40)]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("reason=complaint", {"complaint"}),
        ("reason=manual", {"manual"}),
        (f"recipient={ANNA}", {"complaint", "manual"}),
        (f"recipient={ANNA}&reason=manual", {"manual"}),
        ("recipient=bert@isp.example", set()),
    ],
)
def test_filters_choose_by_reason_and_recipient(
    api: Api, question: str, expected: set[str]
) -> None:
    api.suppress(
        Suppression("shop", COMPLAINT, ANNA),
        Suppression("shop", MANUAL, ANNA),
        Suppression("shop", HARD, ANNA, active=False),
    )
    found = api.ask("GET", f"/v1/suppressions?{question}").json()["entries"]
    assert {each["reason"] for each in found} == expected
    rows = list(
        csv.DictReader(io.StringIO(api.ask("GET", f"/v1/suppressions.csv?{question}").text))
    )
    assert {row["reason"] for row in rows} == expected


def test_an_explanation_has_entries_pattern_and_counters(api: Api) -> None:
    api.suppress(Suppression("shop", HARD, ANNA, active=False))
    api.counters.put("shop", ANNA, BounceCounter(hard=(b"1", b"2")))
    found = api.ask("GET", f"/v1/suppressions/{ANNA}").json()
    assert (found["reason"], found["pattern"]) == ("", "")
    assert [each["active"] for each in found["entries"]] == [False]
    assert found["counters"] == {"hard": 2, "hard_limit": 3, "soft": 0, "soft_limit": 5}
    found = api.ask("GET", "/v1/suppressions/x@blocked.example").json()
    assert (found["reason"], found["pattern"]) == ("blocked", "*@blocked.example")


def test_an_explanation_knows_the_lists_of_parents_and_shows_nothing_of_them(api: Api) -> None:
    shop, bank = api.clients.clients["shop"], api.clients.clients["bank"]
    api.clients.clients["shop"] = replace(shop, parent="bank")
    api.suppress(Suppression("bank", MANUAL, ANNA))
    found = api.ask("GET", f"/v1/suppressions/{ANNA}").json()
    assert (found["client"], found["reason"], found["is_inherited"]) == ("shop", "manual", True)
    assert found["entries"] == []
    api.clients.clients["bank"] = replace(bank, block_list=("*@secret.example",))
    found = api.ask("GET", "/v1/suppressions/x@secret.example").json()
    assert (found["reason"], found["is_inherited"], found["pattern"]) == ("blocked", True, "")


def test_a_reset_removes_what_the_counters_made_and_nothing_else(api: Api) -> None:
    api.suppress(Suppression("shop", HARD, ANNA), Suppression("shop", MANUAL, ANNA))
    found = api.ask("POST", f"/v1/responses/{ANNA}/reset")
    assert (found.status_code, found.json()["removed"]) == (200, 1)
    removed = [each for each in api.writer.records() if isinstance(each, Suppression)]
    assert [each.reason for each in removed] == [HARD]


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("PUT", "/v1/suppressions/nobody", 400, "nobody"),
        ("GET", "/v1/responses/a@b@c", 400, "a@b@c"),
        ("GET", "/v1/suppressions?cursor=!", 400, "cursor"),
        ("GET", "/v1/suppressions?cursor=WzFd", 400, "cursor"),
        ("GET", "/v1/suppressions?reason=odd", 400, "reason"),
        ("GET", "/v1/suppressions?limit=0", 400, "limit: '0' was given, expected `int` >= 1"),
        ("GET", "/v1/suppressions?limit=x", 400, "limit: 'x' was given, expected `int`"),
        ("GET", "/v1/suppressions?recipient=x", 400, "recipient"),
        ("GET", "/v1/messages", 400, "one of"),
        ("GET", "/v1/messages?id=1&recipient=a@b.example", 400, "one of"),
        ("GET", "/v1/messages/short", 400, "mail_id"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(
    api: Api, method: str, path: str, status: int, detail: str
) -> None:
    found = api.ask(method, path)
    assert (found.status_code, found.headers["content-type"]) == (
        status,
        "application/problem+json",
    )
    assert detail in found.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", f"/v1/suppressions/{ANNA}"),
        ("DELETE", f"/v1/suppressions/{ANNA}"),
        ("POST", f"/v1/responses/{ANNA}/reset"),
    ],
)
def test_a_change_without_kafka_is_503(api: Api, method: str, path: str) -> None:
    api.suppress(Suppression("shop", MANUAL, ANNA))
    api.writer.is_away = True
    found = api.ask(method, path)
    assert (found.status_code, "Kafka" in found.json()["detail"]) == (503, True)
    assert found.headers["retry-after"] == "5"


def test_without_redis_only_what_needs_the_counters_is_503(api: Api) -> None:
    api.counters.is_away = True
    assert api.ask("GET", f"/v1/responses/{ANNA}").status_code == 503
    assert api.ask("GET", "/v1/suppressions").status_code == 200
    assert api.ask("POST", f"/v1/responses/{ANNA}/reset").status_code == 200


@pytest.mark.parametrize("path", ["/v1/suppressions", "/v1/suppressions.csv"])
def test_nothing_is_listed_before_everything_was_read(api: Api, path: str) -> None:
    api.entries.missing = "mail.suppressions has not been read yet"
    assert api.ask("GET", path).status_code == 503


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (
            "/v1/suppressions?reasons=complaint",
            "'reasons': no such parameter; known: client, cursor, limit, reason, recipient,"
            " did you mean reason?",
        ),
        ("/v1/suppressions?limit=abc&limit=3", "limit: given 2 times, expected once"),
        (f"/v1/suppressions/{ANNA}?%1b=1", "'\\x1b': no such parameter; known: client"),
        ("/v1/suppressions?recipient=%e4@isp.example", "recipient: '\ufffd@isp.example' is not"),
    ],
)
def test_a_parameter_that_would_be_ignored_is_an_error(api: Api, path: str, told: str) -> None:
    found = api.ask("GET", path)
    assert found.status_code == 400
    assert found.json()["detail"].startswith(told)


@pytest.mark.parametrize(
    ("query", "body", "told"),
    [
        ("", b'{"note":"asked"}', "?note="),
        ("", b"[]", "?note="),
        ("?note=one%0atwo", b"", "note: holds a control character"),
        ("?note=%e2%80%aetxt", b"", "note: holds a control character"),
        ("?note=%1b%5b31m", b"", "note: holds a control character"),
    ],
)
def test_a_note_that_would_be_lost_or_deceive_is_refused(
    api: Api, query: str, body: bytes, told: str
) -> None:
    found = api.ask("PUT", f"/v1/suppressions/{ANNA}{query}", content=body)
    assert (found.status_code, told in found.json()["detail"]) == (400, True)
    assert not api.writer.written
