"""Names the Kafka principal of each account, from templates such as `User:sluice-{name}`. Pure."""

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


def check_template(template: str) -> None:
    """Raise TemplateFault if each account would not get a principal of its own."""
    if not template.startswith(_KIND) or template.count(PLACE) != 1:
        raise TemplateFault(f"{template!r}: expected a text such as {CLIENT_TEMPLATE}")
    if not template.isprintable():
        raise TemplateFault(f"{template!r}: remove control characters")


def named(
    accounts: Sequence[Account], service_template: str, client_template: str
) -> dict[str, tuple[Rule, ...]]:
    """Return the rules by principal. Raises TemplateFault if two accounts have the same principal.

    A client named `ingest` must not become the service ingest.
    """
    for template in (service_template, client_template):
        check_template(template)
    templates = {"service": service_template, "client": client_template}
    pairs = [(templates[one.kind].replace(PLACE, one.name), one.rules) for one in accounts]
    often = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if often:
        raise TemplateFault(f"two accounts would be {often[0]}: choose other templates")
    if any(name == _ANYBODY for name, _ in pairs):
        raise TemplateFault(f"{_ANYBODY} stands for everybody: choose other templates")
    return dict(pairs)
