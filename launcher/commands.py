"""The commands of the launcher: the module and the help line of each command.

Like all modules in this folder, this module uses only the standard library.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
BYTECODE: Final = ROOT / ".sluice" / "bytecode"


class Command(NamedTuple):
    """A command: its module, its help line, and whether it is a Click command.

    To complete words, only a Click command may be started, because any other module would execute
    its normal work.
    """

    module: str
    what: str
    is_click: bool = True


COMMANDS: Final[dict[str, Command]] = {
    "demo": Command("local.demo", "run the pipeline once with 2,000 messages; check the bill"),
    "up": Command("local.up", "start the whole pipeline and leave it running"),
    "status": Command("local.status", "show which parts run, and the address of each"),
    "down": Command("local.down", "stop the pipeline"),
    "check": Command("cli.check.command", "judge messages by the rules before they are sent"),
    "clients": Command("cli.clients.command", "apply, list, show and remove clients"),
    "suppressions": Command(
        "cli.suppressions.command", "list, add, remove, import, export and explain suppressions"
    ),
    "queue": Command("cli.queue.command", "show the mail that waits: summary, top, show"),
    "indoubt": Command("cli.indoubt.command", "list, send or drop mail that is held in doubt"),
    "message": Command("cli.events.message", "show what became of a message"),
    "events": Command("cli.events.command", "show the events of messages, or follow them"),
    "cancel": Command("cli.control.cancel", "end a message that waits, before it is sent"),
    "suspend": Command("cli.control.suspend", "pause the mail of a client, domain, lane, ..."),
    "resume": Command("cli.control.resume", "end an order of suspend, bounce, expire or reroute"),
    "bounce": Command("cli.control.bounce", "end the mail of a client, domain, ... as bounced"),
    "expire": Command("cli.control.expire", "end the mail of a client, domain, ... as expired"),
    "reroute": Command("cli.control.reroute", "send the mail of a scope to another server"),
    "orders": Command("cli.control.orders", "list the orders of operators in force"),
    "trace": Command("cli.trace.command", "show SMTP dialogs of a domain or message live"),
    "responses": Command("cli.responses.command", "classify returned mail; show bounce counters"),
    "dkim": Command("cli.dkim.command", "make, list and check the DKIM keys that sign mail"),
    "tls": Command("cli.tls.command", "show the results of TLS, by domain and policy"),
    "topics": Command("cli.topics.command", "show how the topics differ from the plan; apply it"),
    "acls": Command("cli.acls.command", "print or apply the Kafka ACLs of services and clients"),
    "config": Command("cli.config.command", "show the settings in force and where each comes from"),
    "audit": Command("cli.audit.command", "check that every message has exactly one fate"),
    "ingest": Command("services.ingest", "run ingest (serve), or show its settings (config)"),
    "validate": Command("services.validate", "run validate (serve), or show its settings (config)"),
    "deliver": Command("services.deliver", "run deliver (serve), or show its settings (config)"),
    "shaping": Command(
        "services.deliver.cli.shaping", "show and check the rules that limit sending"
    ),
    "sources": Command(
        "services.deliver.cli.sources", "check the addresses that mail is sent from"
    ),
    "billing": Command("services.billing", "run billing (serve), or read and check its counts"),
    "bench": Command("bench", "measure speed (e2e, front-door, rules, billing, suppressions)"),
    "test": Command(
        "tools.run_tests", "install the programs that the tests need; run the tests", is_click=False
    ),
    "lock": Command("", "update uv.lock from pyproject.toml", is_click=False),
    "env": Command("", "make the environment and print the path of its Python", is_click=False),
    "completion": Command("", "print the completion script of a shell", is_click=False),
}

# The help of the launcher's own commands.
HELP: Final = {
    "lock": """usage: ./sluice lock [UV LOCK OPTIONS]

Resolve the dependencies in pyproject.toml and write uv.lock. The options
are those of `uv lock`, for example --upgrade-package NAME.""",
    "env": """usage: ./sluice env

Make the environment .venv if it is missing or uv.lock has changed, and print
the path of its Python.""",
    "completion": """usage: ./sluice completion bash|zsh|fish

Print the completion script of a shell. To load it:

  bash   source <(./sluice completion bash)
  zsh    source <(./sluice completion zsh)
  fish   ./sluice completion fish | source""",
}
HELP_OPTIONS: Final = ("-h", "--help")


def usage() -> str:
    """Return the text of --help."""
    lines = ["usage: ./sluice COMMAND [OPTIONS]", "", "commands:"]
    widest = max(map(len, COMMANDS))
    lines += [f"  {name:<{widest}}  {command.what}" for name, command in COMMANDS.items()]
    lines += [
        "",
        "./sluice COMMAND --help explains COMMAND; ./sluice --version shows the version.",
    ]
    return "\n".join(lines)


def module_environment() -> dict[str, str]:
    """Return the environment in which a command's module runs."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **with_bytecode(os.environ),
        "PYTHONPATH": os.pathsep.join(paths),
        # The current folder may contain a package with the same name as a package of Sluice.
        "PYTHONSAFEPATH": "1",
        "SLUICE_COMMAND": "./sluice",
    }


def with_bytecode(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment, with another folder for bytecode if the tree may contain none.

    Without stored bytecode, each process compiles some 900 modules when it starts. That takes
    longer than the rest of the start.
    """
    found = dict(environ)
    if found.get("PYTHONDONTWRITEBYTECODE") and not found.get("PYTHONPYCACHEPREFIX"):
        del found["PYTHONDONTWRITEBYTECODE"]
        found["PYTHONPYCACHEPREFIX"] = str(BYTECODE)
    return found
