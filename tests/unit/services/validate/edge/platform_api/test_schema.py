"""schemathesis asks everything that the OpenAPI document allows, and some that it does not."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from tests.support.platform_api import Api

EXAMPLES = 25


@pytest.fixture
def schema(api: Api) -> Any:
    return schemathesis.openapi.from_dict(api.ask("GET", "/openapi/openapi.json").json())


everything = schemathesis.pytest.from_fixture("schema")


@everything.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_no_request_is_answered_with_a_fault_of_the_server(case: Any, api: Api) -> None:
    sent = case.as_transport_kwargs(base_url="http://testserver")
    found = api.door.request(
        sent["method"], sent["url"], params=sent.get("params"), headers=api.key("shop")
    )
    assert found.status_code < 500, found.text
    assert found.status_code != 401
    if found.status_code >= 400 and "/u/" not in sent["url"]:
        assert found.headers["content-type"] == "application/problem+json"


def test_the_document_describes_every_route(api: Api) -> None:
    document = api.ask("GET", "/openapi/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    paths = document["paths"]
    assert {path: sorted(item) for path, item in paths.items()} == {
        "/health": ["get"],
        "/u/{token}": ["get", "post"],
        "/v1/messages": ["get"],
        "/v1/messages/{mail_id}": ["get"],
        "/v1/responses/{address}": ["get"],
        "/v1/responses/{address}/reset": ["post"],
        "/v1/suppressions": ["get"],
        "/v1/suppressions.csv": ["get"],
        "/v1/suppressions/{address}": ["delete", "get", "put"],
    }
    for path, item in paths.items():
        for operation in item.values():
            if path.startswith("/v1/"):
                assert {"400", "401", "403", "404", "429", "503"} <= operation["responses"].keys()
    assert api.door.get("/docs").status_code == 200
