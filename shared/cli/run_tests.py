"""`./sluice test`: install what the tests need, then run them; options are pytest's.

The foreign SMTP peers come from Debian's packages (postfix with its smtp-source and smtp-sink,
swaks), and only where they are missing. The broker's jars are fetched first, so that no
test's own time limit pays for it.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from msgspec import Struct

from shared.cli import places
from shared.cli.answer import Exit, say
from shared.cli.parts import kafka_java, packages
from shared.cli.parts.away import PartAwayError
from shared.cli.parts.services import base_environment

# Postfix asks what to set up; the tests run their own instances and need none.
_POSTFIX_ANSWERS: Final = (
    "postfix postfix/main_mailer_type select No configuration\n"
    "postfix postfix/mailname string localhost\n"
)


class Foreign(Struct, frozen=True):
    """Programs the tests talk to and the Debian package that has them."""

    programs: tuple[str, ...]
    package: str
    preseed: str = ""


FOREIGN: Final = (
    Foreign(("smtp-source", "smtp-sink", "postconf"), "postfix", _POSTFIX_ANSWERS),
    Foreign(("swaks",), "swaks"),
)


def missing() -> list[Foreign]:
    """The foreign programs this machine does not have."""
    return [each for each in FOREIGN if not all(map(packages.find_program, each.programs))]


def main(arguments: list[str]) -> int:
    """Set up and become pytest."""
    try:
        wanted = missing()
        if wanted:
            preseed = "".join(each.preseed for each in wanted)
            names = [each.package for each in wanted]
            packages.install(names, "the tests' foreign SMTP peers", preseed)
        kafka_java.fetch_jars()
        kafka_java.find_java()
    except PartAwayError as away:
        say(str(away))
        return Exit.PART_AWAY
    os.chdir(places.ROOT)
    environ = {**os.environ, **base_environment()}
    command = [sys.executable, "-m", "pytest", *arguments]
    os.execve(sys.executable, command, environ)  # noqa: S606 - pytest's exit code is ours


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
