"""The options of commands that ask the DNS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def dns_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options `server` and `timeout_s`."""
    timeout = click.option(
        "--timeout",
        "timeout_s",
        default=20.0,
        show_default=True,
        type=click.FloatRange(min=0.1, max=600),
        metavar="SECONDS",
        help="Time for all look-ups together.",
    )
    server = click.option(
        "--resolver", "server", default="", metavar="HOST:PORT", help="DNS server to ask."
    )
    return server(timeout(command))
