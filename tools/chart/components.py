"""The components of the chart, as the services' code has them: helm/files/components.json.

Owns: which process each component runs, what it reads and which sections of the settings it takes.
The templates of the chart know nothing else about a service.
"""

from __future__ import annotations

import importlib
import json
from typing import Any, Final

from msgspec import Struct, structs, to_builtins

from services.billing.settings import BillingSettings
from services.validate.edge.returns import processor as returns_processor
from services.validate.settings import DEFAULT_LANES
from shared.topics import names

# In a list of topics: the outbound topic of each lane.
EACH_LANE: Final = "<lane>"
# In a list of topics: every topic that the group reads.
WHOLE_GROUP: Final = ""


class Lag(Struct, frozen=True):
    """A topic that a component reads in another group than its own."""

    group: str
    topic: str


class Held(Struct, frozen=True):
    """A setting that bounds the bytes of mail in memory. `door`: only where this door is open."""

    section: str
    key: str
    door: str = ""


class Component(Struct, frozen=True):
    """One component of the chart."""

    service: str
    arguments: tuple[str, ...]
    group: str  # "": it joins no group
    # The topics whose lag says how much work waits. Not the retry topics: what waits there is not
    # due, and no further process could do it.
    lag: tuple[str, ...]
    also: tuple[Lag, ...] = ()
    held: tuple[Held, ...] = ()
    # Sections of the service's settings that this component has no use for.
    unused: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The module that `python -m` runs."""
        return f"services.{self.service}"


_DOORS: Final = (
    Held("ingest", "smtp_max_held_bytes", "front"),
    Held("ingest", "bounce_max_held_bytes", "bounce"),
)
# The doors of ingest as separate processes: they read nothing from Kafka, and only the front
# door uses Redis, only the bounce door the keys of return paths.
_FRONT: Final = Component("ingest", ("serve",), "", (), held=_DOORS, unused=("return_path",))
_BOUNCE: Final = Component("ingest", ("serve",), "", (), held=_DOORS, unused=("redis",))
# Read by validate while it counts bounces, and by responses: their processes share it. Counting
# itself is done by one process of all, so no lag of mail.events starts another one.
_RETURNED: Final = (Lag(f"sluice.{returns_processor.SERVICE}", names.RETURNED),)

COMPONENTS: Final = {
    "ingest": Component("ingest", ("serve",), "sluice.ingest", (WHOLE_GROUP,), held=_DOORS),
    "front": _FRONT,
    "bounce": _BOUNCE,
    "validate": Component("validate", ("serve",), "sluice.validate", (names.RECEIVED,), _RETURNED),
    "responses": Component("validate", ("responses",), "sluice.responses", (), _RETURNED),
    "platform": Component("validate", ("api",), "", ()),
    "deliver": Component(
        "deliver",
        ("serve",),
        "sluice.deliver",
        (EACH_LANE,),
        held=(Held("deliver", "max_in_flight_bytes"),),
    ),
    # No lag: its place is in its store, and it commits no offsets, so Kafka's lag is the whole log.
    "billing": Component("billing", ("serve",), BillingSettings().group, ()),
}


def model_of(service: str) -> Any:
    """Return the Struct with all settings of a service."""
    return importlib.import_module(f"services.{service}.settings").Settings


def components() -> str:
    """The text of helm/files/components.json."""
    found = {name: _facts(component) for name, component in COMPONENTS.items()}
    return json.dumps(found, indent=2) + "\n"


def _facts(component: Component) -> dict[str, Any]:
    facts = to_builtins(component)
    unused = facts.pop("unused")
    settings = model_of(component.service)()
    for held in facts["held"]:
        held["default"] = getattr(getattr(settings, held["section"]), held["key"])
    sections = (field.name for field in structs.fields(model_of(component.service)))
    used = [name for name in sections if name not in unused]
    return {**facts, "module": component.module, "sections": used}


def topics() -> str:
    """The text of helm/files/topics.json: the plan of every topic that needs no client.

    The partitions of most topics are a setting; these have none.
    """
    few, many = (
        {plan.name: plan.partitions for plan in names.plans((), count)} for count in (101, 102)
    )
    planned = [
        {
            "name": plan.name,
            **({"partitions": few[plan.name]} if few[plan.name] == many[plan.name] else {}),
            "configs": plan.configs,
        }
        for plan in names.plans(())
    ]
    lane = names.plans((next(iter(DEFAULT_LANES)),))
    outbound = next(plan for plan in lane if plan.name.startswith(names.OUTBOUND_PREFIX))
    found = {
        "topics": planned,
        "lane": {"prefix": names.OUTBOUND_PREFIX, "configs": outbound.configs},
    }
    return json.dumps(found, indent=2) + "\n"
