"""The launcher: its commands, locks and environments. These tests install nothing."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.launcher import ROOT, launcher

LOCKED = """
[[package]]
name = "click"
source = { registry = "https://packages.company.test/simple" }
sdist = { url = "https://files.company.test/packages/45/click-8.tar.gz", hash = "sha256:9bb" }
wheels = [
    { url = "https://files.company.test/packages/31/click-8.whl", hash = "sha256:8bb" },
]
"""

NEUTRAL = """
[[package]]
name = "click"
source = { registry = "https://index.invalid/simple" }
sdist = { url = "https://files.invalid/packages/45/click-8.tar.gz", hash = "sha256:9bb" }
wheels = [
    { url = "https://files.invalid/packages/31/click-8.whl", hash = "sha256:8bb" },
]
"""


def test_a_neutral_lock_keeps_versions_paths_and_hashes_but_no_host() -> None:
    assert launcher.neutralise(LOCKED) == NEUTRAL


def test_neutralising_twice_changes_nothing_more() -> None:
    assert launcher.neutralise(NEUTRAL) == NEUTRAL


def test_the_lock_in_the_tree_names_no_host() -> None:
    hosts = set(re.findall(r"https?://([^/\"]+)", (ROOT / "uv.lock").read_text()))
    assert hosts == {"index.invalid", "files.invalid"}


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ('[tool.ruff]\nline-length = 100\n[project]\ndependencies = ["click"]', True),
        ('[project]\ndependencies = ["click"]\n# a remark', True),
        ('[project]\ndependencies = ["click", "rich"]', False),
        ('[project]\ndependencies = ["click"]\n[dependency-groups]\ndev = ["ruff"]', False),
        ('[project]\ndependencies = ["click"]\n[tool.uv]\ndefault-groups = []', False),
    ],
)
def test_only_what_is_installed_counts_for_the_environment(changed: str, same: bool) -> None:
    before = launcher.fingerprint(b"lock", b'[project]\ndependencies = ["click"]')
    assert (launcher.fingerprint(b"lock", changed.encode()) == before) is same


def test_another_lock_is_another_environment() -> None:
    assert launcher.fingerprint(b"one", b"") != launcher.fingerprint(b"two", b"")


@pytest.mark.parametrize(
    ("environ", "made"),
    [
        ({}, {}),
        ({"PIP_INDEX_URL": "m"}, {"PIP_INDEX_URL": "m", "UV_DEFAULT_INDEX": "m"}),
        (
            {"PIP_INDEX_URL": "m", "UV_DEFAULT_INDEX": "u"},
            {"PIP_INDEX_URL": "m", "UV_DEFAULT_INDEX": "u"},
        ),
        ({"PIP_CERT": "c"}, {"PIP_CERT": "c", "SSL_CERT_FILE": "c"}),
        ({"VIRTUAL_ENV": "/v", "UV_PYTHON": "3.9", "HOME": "/h"}, {"HOME": "/h"}),
    ],
)
def test_an_operators_mirror_holds_for_uv_and_a_foreign_environment_does_not(
    environ: dict[str, str], made: dict[str, str]
) -> None:
    assert launcher.tool_environment(environ) == made


def test_an_unknown_command_is_wrong_use_and_shows_the_list(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert launcher.main(["xyzzy"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "'xyzzy'" in shown.err
    assert all(name in shown.err for name in launcher.COMMANDS)


def test_a_misspelled_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main(["statsu"]) == 2
    assert capsys.readouterr().err == (
        "sluice: no command is named 'statsu'. Did you mean 'status'?\n"
    )


def test_the_version_is_that_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main(["--version"]) == 0
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert capsys.readouterr().out == f"sluice {version}\n"


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        (["cl"], ["clients"]),
        (["clients", "sh"], ["show"]),
        (["billing", "re"], ["rebuild", "recount"]),
        (["clients", "credentials", "ro"], ["rotate"]),
        (["deliver", ""], ["config", "serve"]),
        (["completion", "z"], ["zsh"]),
        (["nonsense", ""], []),
        ([], list(launcher.COMMANDS)),
    ],
)
def test_words_are_completed_as_far_as_they_are_written(
    words: list[str], candidates: list[str]
) -> None:
    assert launcher.completions(words) == candidates


def test_bash_completes_a_verb(tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(launcher.SCRIPTS["bash"])
    ask = f"source {script}; COMP_WORDS=(./sluice billing us); COMP_CWORD=2; _sluice"
    done = subprocess.run(
        ["bash", "-c", f'{ask}; echo "${{COMPREPLY[@]}}"'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "usage\n"


def test_no_command_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main([]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("asked", ["-h", "--help", "help"])
def test_help_lists_every_command(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main([asked]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in launcher.COMMANDS)


@pytest.mark.parametrize(
    "module", sorted({module for module, _ in launcher.COMMANDS.values() if module})
)
def test_every_command_is_a_module_that_can_be_run(module: str) -> None:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    if spec.submodule_search_locations is not None:
        assert importlib.util.find_spec(f"{module}.__main__") is not None


def test_an_old_python_can_read_the_launcher_far_enough_to_say_so() -> None:
    source = (ROOT / "sluice").read_text()
    ast.parse(source, feature_version=(3, 7))
    # The check comes before the first import that an old Python lacks.
    assert source.index("sys.version_info <") < source.index("import tomllib")


def test_the_launcher_imports_only_the_standard_library() -> None:
    tree = ast.parse((ROOT / "sluice").read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= set(sys.stdlib_module_names)
