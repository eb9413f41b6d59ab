"""`sluice sources`, as an operator runs it, and what deliver does with the same findings."""

from __future__ import annotations

import json
import secrets
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from services.deliver.cli.sources import group
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.sources.selecting import Sources
from services.deliver.sending import check_at_start, load_sources
from services.deliver.settings import DeliverSettings
from shared.runtime.errors import UsageError
from shared.settings.sections import KafkaSettings
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions, make_producer
from shared.topics.names import REPUTATION, plans
from shared.topics.reputation import WarmupState, encode_state

# A documentation address: no host has it.
GONE = ("gone.example.com", "192.0.2.1")
HERE = ("here.example.com", "127.0.0.2")


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(group, words)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def configure(monkeypatch: pytest.MonkeyPatch, sources: dict[str, tuple[str, ...]]) -> None:
    monkeypatch.setenv("SLUICE_DELIVER__SOURCES", json.dumps(sources))


def test_an_address_that_this_host_lacks_is_an_error_and_a_private_one_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure(monkeypatch, {"here": HERE})
    code, text = run("check")
    assert code == 0
    assert "is not a public address" in text
    configure(monkeypatch, {"here": HERE, "gone": GONE})
    code, text = run("check", "--json")
    assert code == 1
    answer = json.loads(text)
    severities = [(one["source"], one["severity"]) for one in answer["findings"]]
    assert severities == [("here", "warning"), ("gone", "error")]
    assert answer["pools"] == {"default": {"here": 1, "gone": 1}}


def test_the_warm_up_of_each_source_is_listed_and_explained(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configure(monkeypatch, {"here": HERE})
    shaping = tmp_path / "mine.toml"
    shaping.write_text("[source.here]\nwarmup = [50, 70]\n")
    monkeypatch.setenv("SLUICE_DELIVER__SHAPING_FILE", str(shaping))
    monkeypatch.setenv("SLUICE_KAFKA__BOOTSTRAP", kafka_bootstrap)
    provider = f"p{secrets.token_hex(4)}"
    options = ClientOptions(kafka_bootstrap, "sources-command")
    ensure_topics(KafkaSettings(bootstrap=kafka_bootstrap), plans(()), options)
    with closing(make_producer(options, None)) as producer:
        state = WarmupState("here", provider, 1, 1_800_000_000_000, 30, 2)
        key, value = encode_state(state)
        producer.send(REPUTATION, value, key, [], 0).get(60)
        code, text = run("list", "--json")
        producer.send(REPUTATION, None, key, [], 0).get(60)
    assert code == 0
    row = next(one for one in json.loads(text)["warmup"] if one["provider"] == provider)
    assert (row["step"], row["limit"], row["delivered"], row["failed"]) == (2, "70 in 1d", 30, 2)


def test_wrong_settings_end_the_command_with_the_place_of_the_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure(monkeypatch, {"here": ("here.example.com", "127.0.0.999")})
    code, text = run("check", "--json")
    assert code == 2
    assert "deliver.sources.here: found '127.0.0.999'" in text


def test_errors_end_the_start_of_deliver_only_if_that_is_required(
    caplog: pytest.LogCaptureFixture,
) -> None:
    deliver = DeliverSettings(sources={"here": HERE, "gone": GONE})
    sources = Sources(load_sources(deliver))
    resolver = Resolver(lambda: 0.0)
    check_at_start(deliver, sources, resolver)
    warned = [record.message for record in caplog.records]
    assert any(line.startswith("source gone (192.0.2.1): cannot be bound to") for line in warned)
    with pytest.raises(UsageError, match="source gone"):
        check_at_start(replace(deliver, require_sources=True), sources, resolver)
