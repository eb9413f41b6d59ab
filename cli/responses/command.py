"""`sluice responses`: returned mail and bounce counters, for operators.

Owns: the group of commands. Each command has a file of its own.
"""

from __future__ import annotations

import click

from cli.responses import counters, reviews
from cli.responses.classify import classify
from shared.runtime.program_name import program_name


@click.group(help="Understand returned mail; show and reset the bounce counters of a recipient.")
def main() -> None:
    """Run one of the commands."""


main.add_command(classify)
main.add_command(counters.show)
main.add_command(counters.reset)
main.add_command(counters.rebuild)
main.add_command(reviews.incidents)
main.add_command(reviews.rewind)
main.add_command(reviews.accept)

if __name__ == "__main__":
    main(prog_name=program_name("responses"))
