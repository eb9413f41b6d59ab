"""The name sent in EHLO, and the warning about one that servers refuse."""

from __future__ import annotations

import pytest

from services.deliver.app import ehlo_warning


@pytest.mark.parametrize(
    ("name", "is_warned"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("localhost.", True),
        ("localhost.localdomain", True),
        ("mail.localhost", True),
        ("printer.local", True),
        ("d3adbeef", True),
        ("mail.example.com", False),
        ("mail.example.com.", False),
    ],
)
def test_a_name_that_is_no_full_host_name_is_warned_of(name: str, is_warned: bool) -> None:
    warning = ehlo_warning(name)
    assert bool(warning) == is_warned
    if is_warned:
        assert repr(name) in warning
        assert "deliver.ehlo_name" in warning
