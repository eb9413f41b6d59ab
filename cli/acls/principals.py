"""Names the Kafka principal of each account, from templates such as `User:sluice-{name}`. Pure.

A template of services without {name} is one login that all of them share, with the rights of all;
each client always has a principal of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from cli.acls.plan import Account, Rule

PLACE: Final = "{name}"
SERVICE_TEMPLATE: Final = "User:sluice-{name}"
CLIENT_TEMPLATE: Final = "User:client-{name}"
_KIND: Final = "User:"
_ANYBODY: Final = "User:*"


class TemplateFault(ValueError):
    """A template cannot be used; the text gives the reason."""


def check_service_template(template: str) -> None:
    """Raise TemplateFault if services cannot have such a principal, or such principals."""
    if template.count(PLACE) > 1:
        raise _fault("--service-principal", template, f"give {PLACE} once, or not at all")
    if not template.startswith(_KIND) or template == _KIND:
        example = f"a text such as {SERVICE_TEMPLATE}, or User:sluice for one login of all services"
        raise _fault("--service-principal", template, f"expected {example}")
    _check_text("--service-principal", template)


def check_client_template(template: str) -> None:
    """Raise TemplateFault if each client would not get a principal of its own."""
    if not template.startswith(_KIND) or template.count(PLACE) != 1:
        example = f"expected a text such as {CLIENT_TEMPLATE}, with {PLACE} once"
        raise _fault("--client-principal", template, example)
    _check_text("--client-principal", template)


def _check_text(option: str, template: str) -> None:
    if not template.isprintable():
        raise _fault(option, template, "remove control characters")


def _fault(option: str, template: str, text: str) -> TemplateFault:
    return TemplateFault(f"{option} {template!r}: {text}")


def named(
    accounts: Sequence[Account],
    service_template: str,
    client_template: str,
    *,
    clients_only: bool = False,
) -> dict[str, tuple[Rule, ...]]:
    """Return the rules by principal; with `clients_only`, only the rules of clients.

    Raises TemplateFault if two accounts have the same principal: a client named `ingest` must not
    become the service ingest, and none the login that services share.
    """
    check_service_template(service_template)
    check_client_template(client_template)
    if PLACE not in service_template:
        accounts = _sharing(accounts)
    templates = {"service": service_template, "client": client_template}
    names = [templates[one.kind].replace(PLACE, one.name) for one in accounts]
    often = [name for name, count in Counter(names).items() if count > 1]
    if often:
        raise TemplateFault(f"two accounts would be {often[0]}: choose other templates")
    if _ANYBODY in names:
        raise TemplateFault(f"{_ANYBODY} stands for everybody: choose other templates")
    pairs = zip(names, accounts, strict=True)
    return {name: one.rules for name, one in pairs if one.kind == "client" or not clients_only}


def _sharing(accounts: Sequence[Account]) -> list[Account]:
    """Return the accounts, with the accounts of all services merged into one."""
    shared = dict.fromkeys(rule for one in accounts if one.kind == "service" for rule in one.rules)
    clients = [one for one in accounts if one.kind == "client"]
    return [Account("service", "", tuple(shared)), *clients]
