"""What a fault of the settings says: a sentence that a user understands at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Meta, Struct, field

from shared.settings.describe import in_lines, show
from shared.settings.loader import SettingsError, load


class Section(Struct, frozen=True):
    workers: Annotated[int, Meta(ge=1, le=9)] = 2
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.names) > self.workers:
            raise ValueError("there are more names than workers")


class Model(Struct, frozen=True):
    billing: Section = field(default_factory=Section)


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        (
            {"SLUICE_BILLING__WORKERS": "x"},
            "billing.workers: found 'x', expected a whole number from 1 to 9"
            " (environment SLUICE_BILLING__WORKERS)",
        ),
        (
            {"SLUICE_BILLING__WORKER": "1"},
            "billing.worker: no such setting; known: workers, names; did you mean workers?"
            " (environment SLUICE_BILLING__WORKER)",
        ),
        (
            {"SLUICE_BILLING__NAMES": '["a", "b", "c"]'},
            "billing: there are more names than workers (environment SLUICE_BILLING__NAMES)",
        ),
        (
            {"SLUICE_BILLING_WORKERS": "1"},
            "billing_workers: the variable is called SLUICE_BILLING__WORKERS, with two underscores"
            " (environment SLUICE_BILLING_WORKERS)",
        ),
        (
            {"SLUICE_CONFIG": "/nonexistent.toml"},
            "SLUICE_CONFIG: cannot read the file: no such file or directory"
            " (file /nonexistent.toml)",
        ),
    ],
)
def test_a_fault_is_a_sentence(environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(Model, environ)
    assert str(caught.value) == sentence


def test_a_file_that_is_not_toml_is_named_so(tmp_path: Path) -> None:
    path = tmp_path / "sluice.toml"
    path.write_text("billing = [")
    with pytest.raises(SettingsError, match=r"\ASLUICE_CONFIG: the file is not valid TOML: "):
        load(Model, {"SLUICE_CONFIG": str(path)})


def test_a_file_that_is_not_utf_8_is_named_so(tmp_path: Path) -> None:
    path = tmp_path / "sluice.toml"
    path.write_bytes(b"[billing]\nnote = '\xff'\n")
    with pytest.raises(SettingsError) as caught:
        load(Model, {"SLUICE_CONFIG": str(path)})
    assert str(caught.value) == (
        f"SLUICE_CONFIG: the file is not UTF-8: found the byte 0xff at position 18 (file {path})"
    )


def test_settings_are_lines_with_the_values_in_one_column() -> None:
    rows = show(load(Model, {"SLUICE_BILLING__WORKERS": "3"}))
    assert in_lines(rows) == [
        "billing.workers = 3  (environment SLUICE_BILLING__WORKERS)",
        "billing.names   = []  (default)",
    ]


def test_only_the_faults_of_files_and_settings_compare_found_with_expected() -> None:
    # There both are nouns, "found X, expected Y"; any other message is a sentence of its own.
    root = Path(__file__).resolve().parents[4]
    compares = re.compile(r"found \{[^}]*\}, expected")
    found = {
        str(path.relative_to(root))
        for folder in ("cli", "local", "services", "shared", "tools")
        for path in (root / folder).rglob("*.py")
        if compares.search(path.read_text())
    }
    assert found == {
        "shared/settings/loader.py",
        "shared/registry/file/yaml_tree.py",
        "services/deliver/core/routing/logins.py",
        "services/deliver/core/shaping/parsing.py",
        "services/deliver/core/shaping/replies.py",
        "services/deliver/core/sources/table.py",
    }
