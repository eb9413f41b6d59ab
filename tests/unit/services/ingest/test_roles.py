"""What an ingest process does by its settings: intakes, the doors, or some of them."""

from __future__ import annotations

from typing import Any

import pytest

from services.ingest.app import require_work, written
from services.ingest.settings import IngestSettings
from shared.runtime.errors import UsageError
from shared.topics import names

ACCEPTED = (names.RECEIVED, names.EVENTS, names.REFUSED)
FRONT = {"smtp_listen": ("0.0.0.0:2525",)}
BOUNCE = {"bounce_listen": ("0.0.0.0:2526",)}


@pytest.mark.parametrize(
    ("settings", "topics"),
    [
        ({}, ACCEPTED),
        ({**FRONT, **BOUNCE}, (*ACCEPTED, names.RETURNED)),
        ({"reads_intakes": False, **FRONT}, ACCEPTED),
        ({"reads_intakes": False, "smtps_listen": ("0.0.0.0:2465",)}, ACCEPTED),
        ({"reads_intakes": False, **BOUNCE}, (names.RETURNED,)),
        ({"reads_intakes": False, **FRONT, **BOUNCE}, (*ACCEPTED, names.RETURNED)),
    ],
)
def test_a_process_is_ready_when_what_it_writes_can_be_written(
    settings: dict[str, Any], topics: tuple[str, ...]
) -> None:
    ingest = IngestSettings(**settings)
    require_work(ingest)
    assert written(ingest) == topics


def test_a_process_without_intakes_and_doors_does_not_start() -> None:
    with pytest.raises(UsageError, match=r"ingest.reads_intakes: false, .*ingest.smtp_listen"):
        require_work(IngestSettings(reads_intakes=False))
