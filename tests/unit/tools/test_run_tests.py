"""What `./sluice test` checks before it runs apt."""

from __future__ import annotations

import pytest

from cli.stack import paths
from tools.run_tests import Foreign, is_there, needs_helm, spread


@pytest.mark.parametrize(
    ("foreign", "found"),
    [
        (Foreign(("sh", "ls"), "coreutils"), True),
        (Foreign(("sh", "no-such-program"), "coreutils"), False),
        (Foreign(("perl",), "perl", perl_module="strict"), True),
        (Foreign(("perl",), "perl", perl_module="No::Such::Module"), False),
        (Foreign((), "libc6", plug_in="*/libc.so.6"), True),
        (Foreign((), "libc6", plug_in="*/no-such-plug-in.so"), False),
    ],
)
def test_a_package_is_there_when_all_its_parts_are(foreign: Foreign, found: bool) -> None:
    assert is_there(foreign) is found


@pytest.mark.parametrize(
    ("arguments", "is_spread"),
    [
        ([], True),
        (["-q", "tests/unit"], True),
        (["--junitxml=FILE"], True),
        (["-n0"], False),
        (["-n", "8"], False),
        (["--numprocesses=2"], False),
        (["-s"], False),
        (["--pdb"], False),
        (["--long", "--seeds", "2"], False),
        (["--seeds", "2"], True),
    ],
)
def test_the_tests_are_spread_unless_told_how(arguments: list[str], is_spread: bool) -> None:
    assert bool(spread(arguments)) is is_spread


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ([], True),
        (["-q", "-n0"], True),
        (["-k", "billing"], True),
        (["tests"], True),
        (["tests/chart"], True),
        (["tests/chart/test_policies.py::test_no_such"], True),
        (["tests/integration"], True),
        (["tests/integration/test_chart_processes.py"], True),
        (["tests/integration/test_relay.py"], False),
        (["tests/unit"], False),
        (["tests/unit", "tests/chart"], True),
        (["tests/unit/tools/test_run_tests.py", "-q"], False),
    ],
)
def test_helm_is_built_only_for_the_tests_of_the_chart(
    arguments: list[str], needed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(paths.ROOT)
    assert needs_helm(arguments) is needed
