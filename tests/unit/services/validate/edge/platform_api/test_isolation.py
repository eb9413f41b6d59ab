"""A key of one client never sees or changes anything of another, over every route and form."""

from __future__ import annotations

import pytest

from shared.access.keys import Right
from shared.http_api.keyed import KeyedApi
from shared.responses.counting.counting import BounceCounter
from shared.topics import ids
from shared.topics.codec import event_id
from shared.topics.records import Event, EventType, MailEvent
from shared.topics.suppressions import Suppression, SuppressionReason
from tests.support.platform_api import Api

ANNA = "anna@isp.example"
SECRET = "tresor"
THEIRS, OURS = ids.encode(5 << 90), ids.encode(6 << 90)
# What each parameter of an address is filled with.
FILLED = {
    "{address:str}": ANNA,
    "{mail_id:str}": THEIRS,
    "{token:str}": "x",
    "{path:str}": "x",
}


@pytest.fixture
def full(api: Api) -> Api:
    """Data of two clients about the same recipient."""
    reason = SuppressionReason.MANUAL
    api.suppress(
        Suppression("bank", reason, ANNA, note=f"{SECRET}-note"),
        Suppression("bank", SuppressionReason.COMPLAINT, ANNA, note=f"{SECRET}-note"),
        Suppression("bank", reason, f"{SECRET}@isp.example"),
    )
    api.counters.put("bank", ANNA, BounceCounter(hard=(b"1",) * 2, soft=(b"2",) * 4))
    for client, mail_id in (("bank", THEIRS), ("shop", OURS)):
        sub_client = "south" if client == "shop" else f"{SECRET}-branch"
        data = MailEvent(
            client=client,
            sub_client=sub_client,
            recipient=ANNA,
            message_id="<one@x.example>",
            submission_id="s-1",
            reason=f"{SECRET}-reply" if client == "bank" else "",
        )
        kind = EventType.DELIVERED
        api.events.append(Event(event_id(mail_id, kind, 1), kind, mail_id, data))
    return api


def requests(api: Api) -> list[tuple[str, str]]:
    """Every method and address of the application, with every filter."""
    found: list[tuple[str, str]] = []
    for route in api.app.routes:
        path = route.path
        for name, value in FILLED.items():
            path = path.replace(name, value)
        assert "{" not in path, "fill in the new parameter"
        for method in route.methods - {"OPTIONS"}:
            found.append((str(method), path))
    found += [("GET", f"/v1/messages/{OURS}")]
    for path in ("/v1/suppressions", "/v1/suppressions.csv"):
        found += [("GET", f"{path}?recipient={ANNA}"), ("GET", f"{path}?reason=complaint")]
    for question in ("id=s-1", "message_id=one@x.example", f"recipient={ANNA}"):
        found.append(("GET", f"/v1/messages?{question}"))
    return found


@pytest.mark.parametrize("sub_client", [None, "south", "north"])
def test_a_key_of_a_client_sees_and_changes_its_own_only(full: Api, sub_client: str | None) -> None:
    key = full.key("shop", sub_client)
    asked = requests(full)
    for method, path in asked:
        found = full.ask(method, path, key)
        assert SECRET not in found.text, (method, path)
        assert found.status_code in (200, 204, 400, 403, 404), (method, path, found.text)
    assert len(asked) > 15
    assert all(each.client == "shop" for each in full.writer.records())
    seen = full.ask("GET", "/v1/messages?id=s-1", key).json()["messages"]
    assert [each["mail_id"] for each in seen] == ([] if sub_client == "north" else [OURS])
    assert full.ask("GET", f"/v1/messages/{THEIRS}", key).status_code == 404


def test_a_request_for_another_client_is_forbidden(full: Api) -> None:
    key = full.key("shop")
    for method, path in requests(full):
        # Without a question the list of messages is wrong use, whoever asks.
        if path.startswith("/v1/") and path != "/v1/messages":
            named = f"{path}{'&' if '?' in path else '?'}client=bank"
            assert full.ask(method, named, key).status_code == 403, (method, path)
    assert not full.writer.written


def test_a_key_of_a_sub_client_reaches_no_suppressions_and_no_counters(full: Api) -> None:
    key = full.key("shop", "south")
    for method, path in requests(full):
        if path.startswith(("/v1/suppressions", "/v1/responses")):
            assert full.ask(method, path, key).status_code == 403, (method, path)
    assert full.keys.denied


def test_a_key_for_all_clients_names_one(full: Api) -> None:
    key = full.key()
    for method, path in requests(full):
        if path.startswith("/v1/") and "messages?" not in path and path != "/v1/messages":
            found = full.ask(method, path, key)
            assert (found.status_code, "client" in found.json()["detail"]) == (400, True), path
    found = full.ask("GET", "/v1/suppressions?client=bank", key)
    assert SECRET in found.text
    assert full.ask("GET", "/v1/suppressions?client=nobody", key).status_code == 404


def test_without_a_key_only_public_paths_answer(full: Api) -> None:
    app = full.app
    assert isinstance(app, KeyedApi)
    for method, path in requests(full):
        found = full.door.request(method, path)
        is_open = app.policy.is_public(path)
        assert (found.status_code == 401) != is_open, (method, path)
        assert is_open == (path in ("/health", "/docs") or path.startswith("/u/"))


@pytest.mark.parametrize("right", list(Right))
def test_a_key_does_only_what_it_has_the_right_to(full: Api, right: Right) -> None:
    key = full.keys.make("shop", None, (right.value,))
    area, _, verb = right.value.partition(":")
    for method, path in requests(full):
        if path.startswith("/v1/"):
            is_meant = path.startswith(f"/v1/{area}") and (method == "GET") == (verb == "read")
            found = full.ask(method, path, key)
            assert (found.status_code == 403) != is_meant, (method, path, found.text)
