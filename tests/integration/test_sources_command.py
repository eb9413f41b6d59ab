"""`sluice sources`, as an operator runs it, and what deliver does with the same findings."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from services.deliver.cli.sources import group
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.sources.selecting import Sources
from services.deliver.sending import check_at_start, load_sources
from services.deliver.settings import DeliverSettings
from shared.runtime.errors import UsageError

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
