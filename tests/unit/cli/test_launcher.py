"""The launcher: its commands, locks and environments. These tests install nothing."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.clients.command import main as clients
from launcher import environment, uv
from launcher.commands import COMMANDS, HELP, ROOT, usage
from shared.runtime import commands
from shared.runtime.commands import HelpGroup
from tests.support.launcher import launcher

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
    assert environment.neutralise(LOCKED) == NEUTRAL


def test_neutralising_twice_changes_nothing_more() -> None:
    assert environment.neutralise(NEUTRAL) == NEUTRAL


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
    before = environment.fingerprint(b"lock", b'[project]\ndependencies = ["click"]')
    assert (environment.fingerprint(b"lock", changed.encode()) == before) is same


def test_another_lock_is_another_environment() -> None:
    assert environment.fingerprint(b"one", b"") != environment.fingerprint(b"two", b"")


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
        ({"SSL_CERT_FILE": "c"}, {"PIP_CERT": "c", "SSL_CERT_FILE": "c"}),
        (
            {"SSL_CERT_FILE": "c", "PIP_CERT": "p"},
            {"SSL_CERT_FILE": "c", "PIP_CERT": "p"},
        ),
        ({"VIRTUAL_ENV": "/v", "UV_PYTHON": "3.9", "HOME": "/h"}, {"HOME": "/h"}),
    ],
)
def test_an_operators_mirror_holds_for_uv_and_a_foreign_environment_does_not(
    environ: dict[str, str], made: dict[str, str]
) -> None:
    assert uv.tool_environment(environ) == made


def test_an_unknown_command_is_wrong_use_and_shows_the_list(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert launcher.main(["xyzzy"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "'xyzzy'" in shown.err
    assert all(name in shown.err for name in COMMANDS)


def test_a_misspelled_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main(["statsu"]) == 2
    assert capsys.readouterr().err == (
        "sluice: no command is named 'statsu'. Did you mean 'status'?\n"
    )


def test_a_command_in_capitals_gets_the_same_suggestion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert launcher.main(["STATUS"]) == 2
    said = "sluice: no command is named 'STATUS'. Did you mean 'status'?\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(("given", "hint"), [("SHOW", " Did you mean 'show'?"), ("xyz", "")])
def test_a_verb_that_there_is_not_is_said_in_the_same_words(given: str, hint: str) -> None:
    done = CliRunner().invoke(clients, [given])
    assert done.exit_code == 2
    assert done.stderr.endswith(f"no command is named {given!r}.{hint}\n")


@pytest.mark.parametrize("words", [["-h"], ["show", "-h"]])
def test_a_command_and_its_verbs_take_the_short_option_for_help(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    group = HelpGroup(commands={"show": click.Command("show")})
    monkeypatch.setattr(sys, "argv", ["clients", *words])
    monkeypatch.setattr(commands, "guard_output", lambda: None)
    with pytest.raises(SystemExit) as end:
        commands.run_command(group, "clients")
    assert end.value.code == 0
    assert "-h, --help" in capfd.readouterr().out


@pytest.mark.parametrize(
    "module", [each.module for each in COMMANDS.values() if each.module.endswith("command")]
)
def test_a_command_begins_when_its_whole_module_is_defined(module: str) -> None:
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    last = ast.parse(Path(found.origin).read_text()).body[-1]
    assert isinstance(last, ast.If)
    assert "__main__" in ast.unparse(last.test)


def test_the_version_is_that_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main(["--version"]) == 0
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert capsys.readouterr().out == f"sluice {version}\n"


def test_no_command_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main([]) == 2
    assert capsys.readouterr().out == ""


def test_help_of_a_name_is_that_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main(["help", "lock"]) == 0
    assert capsys.readouterr().out == HELP["lock"] + "\n"
    assert launcher.main(["help", "clinets"]) == 2
    assert "Did you mean 'clients'?" in capsys.readouterr().err


@pytest.mark.parametrize("asked", ["-h", "--help", "help"])
def test_help_lists_every_command(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main([asked]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


def test_the_list_of_commands_has_two_columns_within_80() -> None:
    lines = usage().splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if line.startswith("  ")]
    assert len(rows) == len(COMMANDS)
    columns = {found.end() for row in rows if (found := re.match(r"  \S+ {2,}", row))}
    assert len(columns) == 1


@pytest.mark.parametrize("asked", [["--help"], ["-h"], ["bash", "--help"]])
@pytest.mark.parametrize("name", ["lock", "env", "completion"])
def test_help_of_the_launchers_own_commands_sets_up_nothing(
    name: str,
    asked: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launcher, "prepare_environment", lambda: pytest.fail("set up"))
    monkeypatch.setattr(launcher, "relock", lambda _: pytest.fail("resolved"))
    assert launcher.main([name, *asked]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: ./sluice {name}")
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["completion"], "sluice: completion: give one shell: bash, zsh, fish\n"),
        (
            ["completion", "tcsh"],
            "sluice: completion: no script for 'tcsh'; give one shell: bash, zsh, fish\n",
        ),
        (["env", "python"], "sluice: env takes no arguments\n"),
    ],
)
def test_wrong_use_of_the_launchers_own_commands_sets_up_nothing(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launcher.main(arguments) == 2
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("module", sorted({command.module for command in COMMANDS.values()} - {""}))
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


@pytest.mark.parametrize("path", [ROOT / "sluice", *sorted((ROOT / "launcher").glob("*.py"))])
def test_the_launcher_imports_only_the_standard_library(path: Path) -> None:
    tree = ast.parse(path.read_text())
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
    assert imported - {"launcher"} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    "output",
    [
        "  cause: invalid peer certificate: UnknownIssuer\n",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate in"
        " certificate chain (_ssl.c:1006)\n",
        "certificate verify failed: unable to get local issuer certificate",
        "pip._vendor.urllib3.exceptions.SSLError: SSLCertVerificationError(1, ...)",
    ],
)
def test_a_certificate_that_is_not_trusted_is_explained(output: str) -> None:
    hint = uv.tls_hint(f"error: Failed to fetch\n{output}", {})
    for name in ("SSL_CERT_FILE", "PIP_CERT", "UV_NATIVE_TLS=true", "--native-tls"):
        assert name in hint
    assert "\n" not in hint


def test_the_hint_names_the_ca_file_that_was_used(tmp_path: Path) -> None:
    output = "invalid peer certificate: UnknownIssuer"
    ca_file = tmp_path / "ca.pem"
    assert "which is not a file" in uv.tls_hint(output, {"SSL_CERT_FILE": str(ca_file)})
    ca_file.write_text("")
    for name in ("SSL_CERT_FILE", "PIP_CERT"):
        assert f"SSL_CERT_FILE is {ca_file}" in uv.tls_hint(output, {name: str(ca_file)})


@pytest.mark.parametrize(
    "output", ["", "error: dns error: failed to lookup address\n", "No space left on device"]
)
def test_another_fault_gets_no_hint_about_certificates(output: str) -> None:
    assert uv.tls_hint(output, {}) == ""
