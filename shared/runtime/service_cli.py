"""Defines the command line of a service: `serve` runs the service, `config` shows its settings.

    # services/deliver/__main__.py
    from services.deliver.app import serve
    from services.deliver.settings import Settings
    from shared.runtime.service_cli import run_service
    run_service("deliver", Settings, serve)

To add more verbs, create the group with service_cli(), add click commands and call run_cli().
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import NoReturn, Protocol, TypeVar

import click
import msgspec
from msgspec import Struct

from shared.runtime import log as logs
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.commands import HelpGroup, guard_output, program_name, take_short_help
from shared.runtime.errors import Exit
from shared.runtime.health import HealthServer
from shared.runtime.lifecycle import Stop, bound_drain, run_main, stop_on_signals
from shared.runtime.machine import bind_processors, calm_collector, keep_freed_memory
from shared.runtime.tcp import in_url
from shared.runtime.telemetry import Counters
from shared.settings.describe import in_lines, show
from shared.settings.loader import load
from shared.settings.sections import RuntimeSettings, TelemetrySettings

logger = logging.getLogger(__name__)


class ServiceSettings(Protocol):
    """The sections that the settings of every service have."""

    @property
    def runtime(self) -> RuntimeSettings:
        """The section `runtime`."""
        ...

    @property
    def telemetry(self) -> TelemetrySettings:
        """The section `telemetry`."""
        ...


S = TypeVar("S", bound=ServiceSettings)


class Running(Struct, frozen=True):
    """The objects that a service gets from its process."""

    service: str
    stop: Stop
    health: HealthServer
    counters: Counters
    clock: Clock


def service_cli(service: str, model: type[S], serve: Callable[[S, Running], int]) -> click.Group:
    """Return a click group with the verbs `serve` and `config`.

    `serve` works until `running.stop` is set, then drains within
    `settings.runtime.drain_timeout_s` and returns the exit code.
    """

    @click.group(
        name=service,
        no_args_is_help=True,
        help=f"Run the {service} service, or show its settings.",
        cls=HelpGroup,
    )
    def group() -> None:
        pass

    @group.command("serve", help=f"Run {service} in the foreground until SIGTERM, then drain.")
    @click.pass_context
    def serve_(context: click.Context) -> None:
        context.exit(_serve(service, _load(model), serve))

    @group.command("config")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
    def config(as_json: bool) -> None:
        """Show each setting of this service, its value and its origin."""
        rows = show(load(model))
        if as_json:
            click.echo(json.dumps([msgspec.to_builtins(row) for row in rows], ensure_ascii=False))
            return
        click.echo("\n".join(in_lines(rows)))

    return group


def add_role(
    group: click.Group, role: str, model: type[S], serve: Callable[[S, Running], int], help_: str
) -> None:
    """Add the verb `role`, which runs a part of the service as a separate process."""

    @group.command(role, help=help_)
    @click.pass_context
    def serve_(context: click.Context) -> None:
        context.exit(_serve(group.name or "", _load(model), serve))


def run_cli(group: click.Group) -> NoReturn:
    """Run the command line and end the process with its exit code."""

    def main() -> int:
        try:
            name = program_name(group.name or "")
            code = group.main(prog_name=name, standalone_mode=False)
        except click.exceptions.Exit as end:
            return end.exit_code
        except click.Abort:
            return Exit.INTERRUPTED
        except click.ClickException as error:
            error.show()
            return error.exit_code
        return code if isinstance(code, int) else 0

    take_short_help(group)
    guard_output()
    sys.exit(run_main(main))


def run_service(service: str, model: type[S], serve: Callable[[S, Running], int]) -> NoReturn:
    """Run a service that has no further verbs. Its `__main__` needs no other call."""
    run_cli(service_cli(service, model, serve))


def _load(model: type[S]) -> S:
    return load(model).settings  # type: ignore[type-var]


def _serve(service: str, settings: S, serve: Callable[[S, Running], int]) -> int:
    logs.set_up(service, settings.runtime)
    bind_processors(settings.runtime.processors)
    keep_freed_memory()
    calm_collector()
    stop = Stop()
    stop_on_signals(stop)
    bound_drain(stop, settings.runtime.drain_timeout_s)
    counters = Counters(service, settings.runtime.instance)
    health = HealthServer(settings.telemetry, counters)
    where = f"http://{in_url(health.host)}:{health.port}"
    logger.info("started", extra={"instance": settings.runtime.instance, "health": where})
    try:
        code = serve(settings, Running(service, stop, health, counters, SystemClock()))
        logger.info("ended", extra={"reason": stop.reason, "code": code})
        return code
    finally:
        health.close()
        counters.close()
