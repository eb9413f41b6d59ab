"""The Go that may build the tests' programs."""

from __future__ import annotations

import pytest

from tools.foreign_programs import GO_MIN, HELM_3, HELM_4, go_version


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("go version go1.26.8 linux/amd64\n", (1, 26)),
        ("go version go1.19 linux/arm64\n", (1, 19)),
        ("go version devel go1.27-abcdef linux/amd64\n", (1, 27)),
        ("", (0, 0)),
        ("sh: go: not found", (0, 0)),
    ],
)
def test_the_version_of_go_is_read(output: str, version: tuple[int, int]) -> None:
    assert go_version(output) == version


def test_a_go_of_debian_12_is_too_old() -> None:
    assert go_version("go version go1.19.8 linux/amd64") < GO_MIN


def test_two_versions_of_a_program_stand_side_by_side() -> None:
    assert HELM_3.path != HELM_4.path
