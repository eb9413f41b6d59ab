"""`sluice responses`: returned mail and bounce counters, for operators.

Owns: the group of commands. Each command has a file of its own.
"""

from __future__ import annotations

import click

from cli.responses import counters, review_list, reviews
from cli.responses.classify import classify
from shared.runtime.commands import HelpGroup, run_command


@click.group(
    help="Understand returned mail; show and reset the bounce counters of a recipient.",
    cls=HelpGroup,
)
def main() -> None:
    """Run one of the commands."""


main.add_command(classify)
main.add_command(counters.show)
main.add_command(counters.reset)
main.add_command(counters.rebuild)
main.add_command(reviews.incidents)
main.add_command(reviews.rewind)
main.add_command(reviews.accept)
main.add_command(review_list.reviews)

if __name__ == "__main__":
    run_command(main, "responses")
