"""Checks the settings of every process of a pipeline, before anything is started.

Each process checks its settings again when it starts. Without this check a wrong one is reported
only after Kafka has started, half a minute later and as a service that has ended. The models are
loaded here: asking the services (`config`) starts one process for each.

Does not own: what a service checks beside its settings when it starts, such as the content of
certificates. Guarantees: all faults are reported at once, each once, whichever services have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from services.billing.settings import Settings as Billing
from services.deliver.settings import Settings as Deliver
from services.ingest.settings import Settings as Ingest
from services.validate.settings import Settings as Validate
from shared.settings.loader import Fault, SettingsError, load

# By what `python -m` runs.
_MODELS: Final[dict[str, type[Struct]]] = {
    "services.ingest": Ingest,
    "services.validate": Validate,
    "services.deliver": Deliver,
    "services.billing": Billing,
}


def check_settings(processes: Iterable[tuple[str, Mapping[str, str]]]) -> None:
    """Raise SettingsError with every fault of these processes: module and environment."""
    faults: dict[Fault, None] = {}
    for module, environ in processes:
        try:
            load(_MODELS[module], environ)
        except SettingsError as error:
            faults.update(dict.fromkeys(error.faults))
    if faults:
        raise SettingsError(faults)
