"""The HTTP API of billing, over cells in memory."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from services.billing.core.usage import Cell, encode_cell
from services.billing.edge.api import ApiServer, make_app
from services.billing.edge.cells_memory import MemoryCells
from services.billing.edge.log_ends import KafkaUnavailable, LogEnds
from services.billing.edge.usage_view import UsageView
from shared.runtime.errors import UsageError
from shared.store.apply_cells import Run
from shared.store.client import StoreUnavailable
from shared.store.read_cells import NO_MONTH, Snapshot

LOG = "log-1"
MONTH = "2026-11"


class FixedEnds:
    """A log with a given end."""

    def __init__(self, ends: dict[int, int], away: str = "") -> None:
        self.ends = ends
        self.away = away

    def ask(self) -> LogEnds:
        if self.away:
            raise KafkaUnavailable(self.away)
        return LogEnds(LOG, self.ends)


class AwayCells(MemoryCells):
    """A store that does not answer."""

    def read(self, month: str = NO_MONTH) -> Snapshot:
        raise StoreUnavailable("Redis: Connection refused.")


def filled() -> MemoryCells:
    cells = MemoryCells()
    increments = [
        (("shop", "news", "south", "billed"), 7),
        (("shop", "news", "south", "received"), 8),
        (("shop", "news", "north", "delivered"), 2),
        (("bank", "letters", "", "refused"), 1),
    ]
    run = Run(LOG, 0, -1, 10, tuple((MONTH, encode_cell(Cell(*c)), n) for c, n in increments))
    cells.apply(run)
    return cells


def app(cells: MemoryCells, ends: FixedEnds) -> Litestar:
    return make_app(UsageView(cells, ends))


@pytest.fixture
def door() -> Iterator[TestClient[Litestar]]:
    with TestClient(app(filled(), FixedEnds({0: 10}))) as client:
        yield client


def row(client: str, mailing_id: str, sub_client: str, **counts: int) -> dict[str, Any]:
    counters = [
        "billed",
        "received",
        "refused",
        "suppressed",
        "delivered",
        "bounced",
        "expired",
        "cancelled",
        "deferred",
        "in_doubt",
    ]
    named = {"client": client, "mailing_id": mailing_id, "sub_client": sub_client}
    return named | dict.fromkeys(counters, 0) | counts


def test_usage_is_told_by_mailing_in_order(door: TestClient[Litestar]) -> None:
    found = door.get("/v1/usage", params={"month": MONTH})
    assert found.status_code == 200
    assert found.headers["content-type"] == "application/json"
    assert found.json() == {
        "month": MONTH,
        "complete": True,
        "reason": "",
        "lag": {"0": 0},
        "rows": [
            row("bank", "letters", "", refused=1),
            row("shop", "news", "north", delivered=2),
            row("shop", "news", "south", billed=7, received=8),
        ],
    }


def test_usage_of_one_client_is_told_alone(door: TestClient[Litestar]) -> None:
    found = door.get("/v1/usage", params={"month": MONTH, "client": "bank"}).json()
    assert found["rows"] == [row("bank", "letters", "", refused=1)]


def test_a_month_without_mail_has_no_rows(door: TestClient[Litestar]) -> None:
    found = door.get("/v1/usage", params={"month": "2020-01"}).json()
    assert (found["complete"], found["rows"]) == (True, [])


@pytest.mark.parametrize(
    ("path", "accept"), [("/v1/usage.csv", "*/*"), ("/v1/usage", "text/csv, application/json;q=.5")]
)
def test_usage_is_told_as_csv(door: TestClient[Litestar], path: str, accept: str) -> None:
    found = door.get(path, params={"month": MONTH}, headers={"Accept": accept})
    assert found.headers["content-type"] == "text/csv; charset=utf-8"
    assert found.headers["sluice-complete"] == "true"
    assert found.text.splitlines()[1] == "2026-11,bank,letters,,0,0,1,0,0,0,0,0,0,0"


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/v1/usage", 400, "month"),
        ("GET", "/v1/usage?month=2026-13", 400, "expected YYYY-MM"),
        ("GET", "/v1/usage.csv?month=11", 400, "expected YYYY-MM"),
        ("GET", "/v1/usage?month=2026-11&wait_s=soon", 400, "wait_s"),
        ("GET", "/v1/usage?month=2026-11&wait_s=61", 400, "60"),
        ("GET", "/v1/nothing", 404, "Not Found"),
        ("POST", "/v1/usage?month=2026-11", 405, "Method Not Allowed"),
    ],
)
def test_a_wrong_question_is_answered_with_a_problem(
    door: TestClient[Litestar], method: str, path: str, status: int, words: str
) -> None:
    found = door.request(method, path)
    assert found.status_code == status
    assert found.headers["content-type"] == "application/problem+json"
    problem = found.json()
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert words in problem["detail"]


def test_an_answer_that_lags_says_so() -> None:
    with TestClient(app(filled(), FixedEnds({0: 12, 1: 3}))) as door:
        found = door.get("/v1/usage", params={"month": MONTH})
    assert found.headers["sluice-complete"] == "false"
    assert found.json()["complete"] is False
    assert found.json()["lag"] == {"0": 2, "1": 3}
    assert "5 records" in found.json()["reason"]


def test_usage_is_told_without_kafka_but_not_called_complete() -> None:
    with TestClient(app(filled(), FixedEnds({}, away="Kafka: no answer"))) as door:
        found = door.get("/v1/usage", params={"month": MONTH}).json()
    assert (found["complete"], found["reason"]) == (False, "Kafka: no answer")
    assert len(found["rows"]) == 3


def test_without_the_store_there_is_no_answer() -> None:
    with TestClient(app(AwayCells(), FixedEnds({0: 10}))) as door:
        found = door.get("/v1/usage", params={"month": MONTH})
    assert found.status_code == 503
    assert "refused" in found.json()["detail"]


def test_an_address_in_use_is_wrong_use() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UsageError, match=r"billing\.http_port"),
    ):
        ApiServer(app(filled(), FixedEnds({})), "127.0.0.1", taken.getsockname()[1])
