"""No private key and no secret is in the repository, unless it is a fixture named here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
# Words that a reader knows to be no secret: placeholders, samples, and the tests' own.
HARMLESS: Final = re.compile(
    r"(?i)^(x+|\*+|\.{3}|<.*>|\$.*|\{.*|%.*|secret|password|passwort|changeme|example|wrong|right|"
    r"test|none|null|true|false|.*(secret|passw|wrong|old|new|word|horse|test|example|sluice).*)$"
)
# Each finds one kind of secret by its form.
FORMS: Final = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*[A-Za-z0-9+/=]{40}"),
    "a key of AWS": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a token of GitHub": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36}\b"),
    "a token of Slack": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{20,}"),
    "a key of Google": re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b"),
    "a JSON web token": re.compile(r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[\w-]{20,}"),
}
ASSIGNED: Final = re.compile(
    r"""(?ix)\b(?:password|passwd|secret|api[_-]?key|access[_-]?token)\s*[:=]\s*
    ["']([^"'\s]{8,})["']"""
)
# Files whose keys are for tests and protect nothing, each with the reason.
FIXTURES: Final[dict[str, str]] = {
    "tests/contract/test_secrets.py": "the samples of this test",
    "tests/unit/shared/settings/test_settings.py": "odd passwords that must be masked",
}
MAX_BYTES: Final = 2_000_000


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files"], check=True, cwd=ROOT, capture_output=True, text=True
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def findings(text: str) -> list[str]:
    found = [kind for kind, form in FORMS.items() if form.search(text)]
    for value in ASSIGNED.findall(text):
        if not HARMLESS.match(value):
            found.append(f"a password or key: {value[:3]}...")
    return found


def test_no_tracked_file_holds_a_secret() -> None:
    names = tracked()
    assert len(names) > 100
    faults = {}
    for name in names:
        path = ROOT / name
        if name in FIXTURES or path.stat().st_size > MAX_BYTES:
            continue
        if found := findings(path.read_bytes().decode("utf-8", "replace")):
            faults[name] = found
    assert faults == {}


def test_no_tracked_file_is_a_key_store() -> None:
    kinds = (".p12", ".pfx", ".jks", ".keystore", ".key", ".pem", ".kdbx", ".env")
    assert [name for name in tracked() if name.endswith(kinds) and name not in FIXTURES] == []


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY-----\n" + "MIGHAgEAMBMGByqGSM49" * 3,
        "-----BEGIN RSA PRIVATE KEY-----\n" + "MIGHAgEAMBMGByqGSM49" * 3,
        'aws = "AKIA' + "ABCDEFGHIJKLMNOP" + '"',
        "ghp_" + "a1" * 18,
        'password = "' + "Zq8!kd02mm" + '"',
        "api_key: '" + "9f8a7c6d5e4b" + "'",
    ],
)
def test_a_secret_is_found(text: str) -> None:
    assert findings(text)


@pytest.mark.parametrize(
    "text",
    ['password = "correct, horse=battery"', 'password: "$PASSWORD"', "secret = read()", ""],
)
def test_a_placeholder_is_none(text: str) -> None:
    assert not findings(text)
