"""The generated reference pages are what the code says."""

from __future__ import annotations

from shared.cli.docs import SETTINGS_PAGE, settings_page


def test_docs_settings_is_what_the_settings_say() -> None:
    assert SETTINGS_PAGE.read_text("utf-8") == settings_page(), (
        "write it anew: python -m shared.cli.docs settings"
    )


def test_every_setting_says_what_it_does() -> None:
    lines = [line for line in settings_page().splitlines() if line.startswith("| `")]
    assert lines
    assert [line for line in lines if line.endswith("|  |")] == []
