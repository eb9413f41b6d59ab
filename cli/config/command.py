"""`sluice config show`: every setting of every service, its value and where it came from."""

from __future__ import annotations

import sys

import click

from cli.answer import Exit, fail, print_json, say
from cli.config.service_settings import ServiceConfigError, SharedRow, ask_services, in_lines_of
from cli.stack.state import environment_of
from shared.runtime.commands import HelpGroup, run_command
from shared.runtime.errors import Unavailable


@click.group(help="Look at the settings.", cls=HelpGroup)
def main() -> None:
    """Hold the verbs together."""


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.option("--state", "name", default="", help="Show what this running pipeline uses.")
def show(as_json: bool, name: str) -> None:
    """Show each key, its value and its origin; secrets are masked.

    What processes read differently is shown once for each value, with their names: the API runs
    with the settings of validate, for example. Without --state these are the settings that a
    service started here would use.
    """
    try:
        rows = ask_services(environment_of(name) if name else None)
    except Unavailable as error:
        fail(str(error), Exit.PART_UNAVAILABLE, as_json)
    except ServiceConfigError as error:
        for line in error.lines:
            say(line)
        if as_json:
            print_json({"error": list(error.lines)})
        sys.exit(error.exit_code)
    if as_json:
        print_json([_document(shared) for shared in rows])
        return
    click.echo("\n".join(in_lines_of(rows)))


def _document(shared: SharedRow) -> dict[str, object]:
    row = shared.row
    return {
        "key": row.key,
        "value": row.value,
        "origin": row.origin,
        "services": list(shared.services),
    }


if __name__ == "__main__":
    run_command(main, "config")
