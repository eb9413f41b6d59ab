"""The options of the commands that give orders: the mail, the author, the reason, the duration."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from cli.options import duration_s, kafka_options, require_domain
from shared.settings.addresses import target_fault
from shared.topics.control import MAX_TEXT_CHARS, Scope
from shared.topics.names import is_client_name

# A longer time is refused as a typing error; --until-resumed makes an order without an end.
MAX_FOR_S: Final = 366 * 86_400
WHY: Final = "The reason, which the events show."
F = TypeVar("F", bound=Callable[..., Any])
_SCOPE: Final = (
    ("client", "Only mail of this client."),
    ("mailing", "Only mail of this mailing ID of the client."),
    ("sub-client", "Only mail of this sub-client of the client."),
    ("domain", "Only mail to recipients of this domain."),
    ("site", "Only mail to this site; give the name of the site or of one of its servers."),
    ("provider", "Only mail to this provider of the shaping rules."),
    ("lane", "Only mail of this lane."),
)


def scoped(command: F) -> F:
    """Add the options that define a scope, and --kafka, --state and --json."""
    command = click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on stdout."
    )(kafka_options(command))
    for name, meaning in reversed(_SCOPE):
        command = click.option(f"--{name}", default="", help=meaning)(command)
    return command


def authored(command: F, why: str = WHY) -> F:
    """Add --author and --reason; `why` is the help text of --reason."""
    command = click.option(
        "--author", default="", help="Who gives the order.  [default: your user name]"
    )(command)
    return click.option("--reason", default="", help=why)(command)


def author_of(name: str) -> str:
    if name:
        return name[:MAX_TEXT_CHARS]
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def scope_of(**given: str) -> Scope:
    """Return the scope that these options define. Raises click.UsageError, UsageError."""
    values = {name: value.strip() for name, value in given.items()}
    if not any(values.values()):
        names = ", ".join(f"--{name}" for name, _ in _SCOPE)
        raise click.UsageError(
            f"set the scope with at least one of {names}; mail must match all that you give"
        )
    if (values["mailing"] or values["sub_client"]) and not values["client"]:
        raise click.UsageError("--mailing and --sub-client belong to a client: add --client")
    if values["domain"]:
        values["domain"] = require_domain(values["domain"])
    if values["lane"] and not is_client_name(values["lane"]):
        raise click.UsageError(f"--lane: {values['lane']!r} is not the name of a lane")
    values["site"] = values["site"].lower()
    return Scope(**values)


def expiry_ms(text: str, *, is_endless: bool, default: str, now_ms: int) -> int:
    """Return the time when the order ends by itself, or 0 if it never ends. Raises
    click.UsageError."""
    if is_endless and text:
        raise click.UsageError("use either --for or --until-resumed, not both")
    if is_endless:
        return 0
    seconds = duration_s(text or default)
    if seconds is None:
        raise click.UsageError(f"--for: {text!r} is not a duration such as 90s, 30m, 2h or 7d")
    if seconds > MAX_FOR_S:
        longest = f"at most {MAX_FOR_S // 86_400}d"
        raise click.UsageError(f"--for: {text!r} is too long, {longest}; or use --until-resumed")
    return now_ms + seconds * 1000


def require_target(text: str) -> str:
    """Return the target of a reroute. Raises click.UsageError."""
    found = target_fault(text)
    if found:
        raise click.UsageError(f"--to: {found}")
    return text
