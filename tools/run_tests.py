"""`./sluice test` installs the programs that the tests need, then runs pytest with the options.

Most foreign clients and peers come from Debian packages (postfix with its smtp-source and
smtp-sink, swaks, ...) and are installed only if they are missing. Node packages come from npm, Helm
is built with Go, and Exim is only unpacked, because Postfix is installed. All these programs and
the broker's jars are downloaded before the tests. Otherwise the download would use up the time
limit of a test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from cli.answer import Exit, say
from cli.stack import paths
from cli.stack.paths import base_environment
from local.parts import kafka_java, packages
from local.process import PartNotStarted
from tools import foreign_programs

# The package of Postfix asks for a configuration. The answer is irrelevant, because the tests run
# Postfix with their own configurations.
_POSTFIX_ANSWERS: Final = (
    "postfix postfix/main_mailer_type select No configuration\n"
    "postfix postfix/mailname string localhost\n"
)


# The npm packages that the examples in docs/ need. No service needs them.
NODE_PACKAGES: Final = paths.ROOT / "tests" / "integration" / "node"
# A mail server that runs on Node. The tests send mail to this server.
HARAKA: Final = paths.ROOT / "tests" / "integration" / "haraka"

HELP: Final = """Usage: ./sluice test [PYTEST OPTIONS] [PATHS]

  Install the programs that the tests need, then run the tests with pytest.
  Without options, all tests run, spread over a few processes.

Examples:
  ./sluice test tests/unit        the tests of this folder
  ./sluice test -k billing        the tests whose names contain the word
  ./sluice test -n 1              one process only
  ./sluice test --long            the long runs, one after the other

  All options of pytest: .venv/bin/pytest --help
"""

# Each process may run its own broker and its own pipeline, which need up to 1 GB.
MAX_PROCESSES: Final = 4


class Foreign(Struct, frozen=True):
    """Foreign software that the tests use: the files by which it is detected, and its Debian
    package."""

    programs: tuple[str, ...]
    package: str
    preseed: str = ""
    perl_module: str = ""
    plug_in: str = ""  # A file pattern below /usr/lib.


FOREIGN: Final = (
    Foreign(("smtp-source", "smtp-sink", "postconf"), "postfix", _POSTFIX_ANSWERS),
    # Postfix uses this library to log in.
    Foreign((), "libsasl2-modules", plug_in="*/sasl2/libscram.so"),
    Foreign(("swaks",), "swaks"),
    # swaks needs this Perl module for TLS.
    Foreign(("perl",), "libnet-ssleay-perl", perl_module="Net::SSLeay"),
    Foreign(("curl",), "curl"),
    Foreign(("msmtp",), "msmtp"),
    Foreign(("kcat",), "kcat"),
    Foreign(("javac",), "default-jdk-headless"),
    Foreign(("haproxy",), "haproxy"),
    Foreign(("zsh",), "zsh"),
    Foreign(("fish",), "fish"),
    Foreign(("unbound",), "unbound"),  # Unbound validates signed zones.
    Foreign(("promtool",), "prometheus"),
    Foreign(("pg_ctlcluster",), "postgresql"),
    Foreign(("chromium",), "chromium"),  # Chromium displays the pages.
    # Exim needs these libraries. Exim itself is not installed (foreign_programs.py).
    Foreign((), "libgnutls-dane0", plug_in="*/libgnutls-dane.so.0"),
    Foreign((), "libidn12", plug_in="*/libidn.so.12"),
    Foreign((), "libnsl2", plug_in="*/libnsl.so.2"),
)

# The tests that render the chart.
HELM_TESTS: Final = (
    paths.ROOT / "tests" / "chart",
    paths.ROOT / "tests" / "integration" / "test_chart_processes.py",
)


def missing() -> list[Foreign]:
    """Return the foreign software that this machine does not have."""
    return [each for each in FOREIGN if not is_there(each)]


def is_there(foreign: Foreign) -> bool:
    """Return True if every part is found. A Perl module is loaded, because it may exist and not
    work."""
    if not all(map(packages.find_program, foreign.programs)):
        return False
    if foreign.plug_in and not any(Path("/usr/lib").glob(foreign.plug_in)):
        return False
    if not foreign.perl_module:
        return True
    load = ["perl", f"-M{foreign.perl_module}", "-e1"]
    return subprocess.run(load, capture_output=True, check=False).returncode == 0


def spread(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the options that spread the tests over processes. If the user sets one of them, return
    none.

    Tests often wait until servers have started or parts have recovered, so there is one more
    process than processors. A second additional process runs the tests that mostly wait
    (docs/decisions/0215-units-of-tests.md, docs/decisions/0236-tests-that-wait.md). The long tests
    (`--long`) run one after the other, because each loads the machine and reports progress.
    """
    alone = ("-n", "--numprocesses", "--dist", "--pdb", "-s", "--long")
    if any(each.startswith(alone) for each in arguments):
        return ()
    processes = min((os.cpu_count() or 1) + 2, MAX_PROCESSES)
    return ("-n", str(processes), "--dist", "loadgroup")


def needs_helm(arguments: Sequence[str]) -> bool:
    """Return True if tests of the chart may run. These tests may run if the arguments contain no
    path, or a path above, at or below a path of these tests.

    Building Helm takes minutes, so Helm is not built for other tests.
    """
    named = [Path(each.partition("::")[0]) for each in arguments if not each.startswith("-")]
    given = [path.resolve() for path in named if path.exists()]
    return not given or any(
        path == tests or path in tests.parents or tests in path.parents
        for path in given
        for tests in HELM_TESTS
    )


def main(arguments: list[str]) -> int:
    """Install the missing software, then execute pytest. With the option --help, install
    nothing."""
    if "-h" in arguments or "--help" in arguments:
        print(HELP, end="")
        return Exit.OK
    try:
        wanted = missing()
        if wanted:
            preseed = "".join(each.preseed for each in wanted)
            names = [each.package for each in wanted]
            packages.install(names, "the tests' foreign clients and peers", preseed)
        kafka_java.fetch_jars()
        kafka_java.find_java()
        foreign_programs.fetch_modules(NODE_PACKAGES)
        foreign_programs.fetch_modules(HARAKA)
        foreign_programs.fetch_packages(foreign_programs.EXIM)
        foreign_programs.fetch_packages(foreign_programs.OPENSMTPD)
        if needs_helm(arguments):
            foreign_programs.fetch_go_program(foreign_programs.HELM_3)
            foreign_programs.fetch_go_program(foreign_programs.HELM_4)
    except PartNotStarted as away:
        say(str(away))
        return Exit.PART_UNAVAILABLE
    os.chdir(paths.ROOT)
    environ = {**os.environ, **base_environment()}
    command = [sys.executable, "-m", "pytest", *spread(arguments), *arguments]
    os.execve(sys.executable, command, environ)  # noqa: S606 - the exit code of pytest is ours


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
