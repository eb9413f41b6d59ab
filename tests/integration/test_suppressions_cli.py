"""The commands of suppressions and counters, against a real Kafka and a real Redis."""

from __future__ import annotations

import hashlib
import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from services.validate.edge.suppression_view import SuppressionFollower
from shared.registry.store.changes import Changes
from shared.registry.store.publish import apply
from shared.runtime.clock import SystemClock
from shared.settings.sections import KafkaSettings, RedisSettings
from shared.store.client import connect
from shared.store.counters import CounterPlace, CounterStore
from shared.store.suppressions import SuppressionStore
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions, make_producer
from shared.topics import names
from shared.topics.codec import encode_event
from shared.topics.names import plans
from shared.topics.records import EventType, MailEvent
from shared.topics.suppressions import field_of
from tests.support.fork_server import run_module
from tests.support.patience import PATIENCE_S
from tests.support.registry_cli import a_client

NOWHERE = "127.0.0.1:1"


class Operator(Struct, frozen=True):
    """Runs commands for one client."""

    kafka: str
    redis: str
    key: str
    client: str

    def run(
        self, module: str, *arguments: str, stdin: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        settings = {
            "SLUICE_KAFKA__BOOTSTRAP": self.kafka,
            "SLUICE_REDIS__URL": self.redis,
            "SLUICE_REDIS__SUPPRESSIONS_KEY": self.key,
            "SLUICE_REDIS__COUNTERS_KEY": self.key + "c",
        }
        return run_module(f"cli.{module}.command", *arguments, env={**settings, **env}, stdin=stdin)

    def answer(self, *arguments: str, module: str = "suppressions", code: int = 0) -> Any:
        found = self.run(module, *arguments, "--client", self.client, "--json")
        assert found.returncode == code, found.stderr
        return json.loads(found.stdout)

    def reasons(self, address: str) -> list[str]:
        return [each["reason"] for each in self.answer("explain", address)["clients"]]


@pytest.fixture
def operator(kafka_bootstrap: str, redis_url: str) -> Iterator[Operator]:
    client = a_client()
    ensure_topics(KafkaSettings(bootstrap=kafka_bootstrap), plans(()))
    apply(KafkaSettings(bootstrap=kafka_bootstrap), Changes(added=(client,)))
    key = "{test:" + uuid.uuid4().hex + "}"
    store = SuppressionStore(connect(RedisSettings(url=redis_url), decode_responses=False), key)
    follower = SuppressionFollower(ClientOptions(kafka_bootstrap, "test"), store, SystemClock())
    follower.start()
    yield Operator(kafka_bootstrap, redis_url, key, client.name)
    follower.close()


def test_a_recipient_is_added_explained_listed_and_removed(operator: Operator) -> None:
    added = operator.answer("add", "Anna@Example.com", "--note", "asked")
    assert added == {"added": 1, "state": "in force"}
    assert operator.reasons("anna@EXAMPLE.com") == ["manual"]
    (listed,) = operator.answer("list")
    assert (listed["recipient"], listed["note"]) == ("anna@example.com", "asked")
    removed = operator.answer("remove", "anna@example.com")
    assert removed == {"removed": 1, "complaints": 0, "state": "in force"}
    assert operator.reasons("anna@example.com") == [""]
    assert operator.answer("list") == []
    assert len(operator.answer("list", "--all")) == 1


def test_a_client_that_there_is_not_has_no_empty_list(operator: Operator, tmp_path: Path) -> None:
    """Whoever keeps an export must not keep an empty one of a name with a mistake in it."""
    out = tmp_path / "kept.csv"
    removing = ["remove", "a@example.com"]
    for arguments in (["list"], ["list", "--csv"], ["export", "-o", str(out)], removing):
        found = operator.run("suppressions", *arguments, "--client", "nope")
        assert (found.returncode, found.stdout) == (2, ""), arguments
        assert "no client 'nope' is registered; known: " in found.stderr
    assert not out.exists()
    assert operator.answer("export") == []


def test_a_complaint_is_removed_only_by_force_and_with_a_note(operator: Operator) -> None:
    operator.answer("add", "c@example.com", "--reason", "complaint")
    kept = operator.answer("remove", "c@example.com", code=1)
    assert (kept["removed"], kept["complaints"]) == (0, 1)
    without_note = operator.run(
        "suppressions", "remove", "c@example.com", "--client", operator.client, "--force"
    )
    assert without_note.returncode == 2
    assert "--force needs --note" in without_note.stderr
    assert operator.reasons("c@example.com") == ["complaint"]
    forced = operator.answer("remove", "c@example.com", "--force", "--note", "a mistake")
    assert forced["removed"] == 1
    assert operator.reasons("c@example.com") == [""]


def test_a_file_of_addresses_and_hashes_is_imported_and_exported(
    operator: Operator, tmp_path: Path
) -> None:
    hashed = hashlib.md5(b"h@example.com").hexdigest()
    path = tmp_path / "list.csv"
    path.write_text(f"email\na@example.com\n{hashed}\nnobody\n")
    answer = operator.answer("import", str(path), code=1)
    left = {"removed": 0, "of_others": 0}
    assert answer == {"imported": 2, "faulty": 1, **left, "state": "in force"}
    assert operator.reasons("h@example.com") == ["imported"]
    exported = operator.run("suppressions", "export", "--client", operator.client)
    assert [row.split(",")[1] for row in exported.stdout.splitlines()] == [
        "recipient",
        "a@example.com",
        hashed,
    ]


def test_an_export_restores_the_reasons_of_one_client_and_no_removed_entry(
    operator: Operator, tmp_path: Path
) -> None:
    rows = [
        f"{operator.client},c@example.com,address,complaint,True,5,sluice,,,0",
        f"{operator.client},gone@example.com,address,unsubscribed,False,5,sluice,,,0",
        "beta,other@example.com,address,manual,True,5,sluice,,,0",
    ]
    path = tmp_path / "export.csv"
    heading = "client,recipient,form,reason,active,at_ms,author,note,mail_id,count"
    path.write_text("\n".join([heading, *rows]))
    answer = operator.answer("import", str(path))
    left = {"removed": 1, "of_others": 1}
    assert answer == {"imported": 1, "faulty": 0, **left, "state": "in force"}
    assert operator.reasons("c@example.com") == ["complaint"]
    assert operator.reasons("gone@example.com") == operator.reasons("other@example.com") == [""]
    kept = operator.answer("remove", "c@example.com", code=1)
    assert kept["complaints"] == 1
    path.write_text("\n".join([heading, rows[2]]))
    assert operator.answer("import", str(path), code=1)["of_others"] == 1


def test_counters_are_shown_and_reset_with_the_entries_they_made(operator: Operator) -> None:
    counters = CounterStore(
        connect(RedisSettings(url=operator.redis), decode_responses=False), operator.key + "c"
    )
    field = field_of(operator.client, "b@example.com")
    # Two hard bounces and one soft one, as msgpack.
    value = b"\x93\x92\xc4\x01a\xc4\x01b\x91\xc4\x01c\x90"
    assert counters.apply(CounterPlace("t", ""), "{}", {field: value})
    (row,) = operator.answer("show", "B@example.com", module="responses")["clients"]
    assert (row["hard"], row["hard_limit"], row["soft"]) == (2, 3, 1)
    operator.answer("add", "b@example.com", "--reason", "hard_bounces")
    answer = operator.answer("reset", "b@example.com", module="responses")
    assert answer == {"removed": 1, "state": "in force"}
    assert operator.reasons("b@example.com") == [""]
    dropped = operator.run("responses", "rebuild", "--json")
    assert dropped.returncode == 0
    assert counters.read([field])[1] == [None]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("add", "nobody", "--client", "x"), 2, "neither one mail address"),
        (("add", "a@x.example", "--client", "no-such"), 2, "no client 'no-such' is registered"),
        (("explain", "a@x.example", "--client", "no-such"), 2, "no client 'no-such' is registered"),
        (("explain", "nobody"), 2, "not one mail address"),
        (("import", "/no/such.csv", "--client", "x"), 2, "registered"),
        (("list", "--kafka", NOWHERE), 3, f"Kafka at {NOWHERE} is unavailable"),
        (("remove", "a@x.example", "--client", "x", "--kafka", NOWHERE), 3, "is unavailable"),
    ],
)
def test_a_fault_is_one_line_and_an_exit_code(
    operator: Operator, arguments: tuple[str, ...], code: int, text: str
) -> None:
    found = operator.run("suppressions", *arguments)
    assert found.returncode == code
    assert text in found.stderr
    assert "Traceback" not in found.stderr


def test_an_entry_is_recorded_while_redis_is_unavailable(operator: Operator) -> None:
    found = operator.run(
        "suppressions",
        *("add", "r@example.com", "--client", operator.client, "--json"),
        SLUICE_REDIS__URL=f"redis://{NOWHERE}/0",
    )
    assert found.returncode == 0
    assert json.loads(found.stdout)["state"].startswith("recorded")
    assert operator.reasons("r@example.com") == ["manual"]


def test_a_rewind_shows_who_is_freed_before_it_acts_and_frees_them(operator: Operator) -> None:
    provider = uuid.uuid4().hex
    producer = make_producer(ClientOptions(operator.kafka, "test"), None, linger_ms=0)
    for number in range(4):
        # One recipient is over its limit with these bounces, the other one is not.
        recipient = f"{'w' if number else 'v'}@{provider}.example"
        data = MailEvent(
            operator.client, recipient=recipient, bounce_class="hard", provider=provider
        )
        key, value, headers = encode_event(EventType.BOUNCED, f"m{number}", data, "deliver")
        producer.send(names.EVENTS, value, key, list(headers)).get(PATIENCE_S)
    producer.close()
    freed = f"w@{provider}.example"
    operator.answer("add", freed, "--reason", "hard_bounces")
    window = ("--provider", provider, "--from", "2020-01-01", "--to", "2199-01-01")
    rewind = ("responses", "rewind", *window, "--note", "their filter was broken")
    shown = operator.run(*rewind, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "4 bounces excluded" in shown.stdout
    assert "1 recipient: get mail again" in shown.stdout
    assert freed in shown.stdout
    assert "nothing was changed" in shown.stdout
    never = operator.run(*rewind, "--undo", "--yes")
    assert (never.returncode, "no such window was reviewed" in never.stderr) == (2, True)
    refused = operator.run(*rewind, stdin="n\n")
    assert "nothing was changed" in refused.stdout
    assert operator.reasons(freed) == ["hard_bounces"]
    done = operator.run(*rewind, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [each["recipient"] for each in answer["freed"]] == [freed]
    assert (answer["bounces"], answer["added"], answer["state"]) == (4, [], "in force")
    assert operator.reasons(freed) == [""]
    listed = operator.run("responses", "reviews", "--json")
    (review,) = (each for each in json.loads(listed.stdout) if each["provider"] == provider)
    assert (review["verdict"], review["note"]) == ("excluded", "their filter was broken")
    undone = operator.run(*rewind, "--undo", "--yes", "--json")
    assert [each["recipient"] for each in json.loads(undone.stdout)["added"]] == [freed]
    assert operator.reasons(freed) == ["hard_bounces"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--from", "2026-01-02", "--to", "2026-01-01", "--yes"), "must end after --from"),
        (("--from", "yesterday", "--to", "2026-01-01", "--yes"), "is not a time such as"),
        (("--from", "2026-01-01", "--to", "2026-01-02"), "--json needs --yes or --dry-run"),
    ],
)
def test_a_window_that_is_none_is_refused(
    operator: Operator, arguments: tuple[str, ...], text: str
) -> None:
    found = operator.run("responses", "rewind", "--provider", "p", *arguments, "--json")
    assert found.returncode == 2
    assert text in found.stderr
