"""Generates helm/files/components.json, the list of the chart's components, from the code.

Owns: the process of each component, the topics that the component reads, and the sections of the
settings that it uses. The templates of the chart have no other knowledge about a service.
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

# In a list of topics, this text stands for the outbound topic of each lane.
EACH_LANE: Final = "<lane>"
# In a list of topics, this text stands for every topic that the group reads.
WHOLE_GROUP: Final = ""


class Lag(Struct, frozen=True):
    """A topic that a component reads with a consumer group other than its own."""

    group: str
    topic: str


class Held(Struct, frozen=True):
    """A setting that limits how many bytes of mail a process has in memory.

    If `door` is set, the setting applies only to processes in which that door is open.
    """

    section: str
    key: str
    door: str = ""


class Component(Struct, frozen=True):
    """One component of the chart."""

    service: str
    arguments: tuple[str, ...]
    group: str  # "" if the component joins no consumer group.
    # The topics whose lag shows how much work waits. Retry topics are left out. Their mail is not
    # due yet, so additional processes could not send it earlier.
    lag: tuple[str, ...]
    also: tuple[Lag, ...] = ()
    held: tuple[Held, ...] = ()
    # Sections of the service's settings that this component does not use.
    unused: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """Return the module that `python -m` runs."""
        return f"services.{self.service}"


_DOORS: Final = (
    Held("ingest", "smtp_max_held_bytes", "front"),
    Held("ingest", "bounce_max_held_bytes", "bounce"),
)
# These components are the doors of the ingest service as separate processes. They read no intakes.
# Only the front door uses Redis, and only the bounce door uses the keys of return paths.
_FRONT: Final = Component("ingest", ("serve",), "", (), held=_DOORS, unused=("return_path",))
_BOUNCE: Final = Component("ingest", ("serve",), "", (), held=_DOORS, unused=("redis",))
# Two components read this topic: `validate` (while it counts bounces) and `responses`. Their
# processes share the partitions of the topic. Only one of these processes counts bounces, so a lag
# on mail.events must not start another process.
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
    # The billing service has no lag topics. It stores its position in its own store and commits no
    # offsets, so Kafka would report the whole log as the lag of the billing service.
    "billing": Component("billing", ("serve",), BillingSettings().group, ()),
}


def model_of(service: str) -> Any:
    """Return the Struct with all settings of a service."""
    return importlib.import_module(f"services.{service}.settings").Settings


def components() -> str:
    """Return the text of helm/files/components.json."""
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
    """Return the text of helm/files/topics.json: the plan of every topic except clients' topics.

    The file also has the shipped lanes, which the chart uses if its value `lanes` is null.
    If the number of partitions of a topic is a setting, the plan of this topic has no number. This
    is true of most topics.
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
        "lanes": DEFAULT_LANES,
    }
    return json.dumps(found, indent=2) + "\n"
