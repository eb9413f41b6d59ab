"""A wrong domain is refused in the same words by every command that takes one."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.control import verbs
from cli.options import require_domain
from services.deliver.cli import shaping
from shared.settings.sections import KafkaSettings

SAID = "sluice: 'no_domain' is not a domain such as example.com\n"


@pytest.mark.parametrize(
    "words",
    [
        ("cli.control.suspend", "--domain", "no_domain"),
        ("cli.trace.command", "--domain", "no_domain"),
        ("cli.tls.command", "report", "--domain", "no_domain"),
        ("cli.dkim.command", "dns", "--domain", "no_domain", "--folder", "DIR"),
        ("cli.dkim.command", "rotate", "--domain", "no_domain", "--folder", "DIR"),
    ],
)
def test_a_wrong_domain_is_refused(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "find_kafka", lambda *_: KafkaSettings())
    module, *rest = words
    arguments = [str(tmp_path) if word == "DIR" else word for word in rest]
    done = CliRunner().invoke(importlib.import_module(module).main, arguments)
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", SAID)


@pytest.mark.parametrize(
    "words", [("no_domain",), ("example.com", "--sending-domain", "no_domain")]
)
def test_so_is_one_whose_limits_are_asked_for(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_REDIS__URL", "redis://127.0.0.1:9/0")
    done = CliRunner().invoke(shaping.group, ["explain", *words])
    assert (done.exit_code, done.stderr) == (2, SAID)


@pytest.mark.parametrize(
    ("given", "domain"),
    [
        ("News.Example", "news.example"),
        ("a@b.example", "b.example"),
        ("münchen.de", "xn--mnchen-3ya.de"),
    ],
)
def test_a_domain_is_taken_in_any_form(given: str, domain: str) -> None:
    assert require_domain(given) == domain
