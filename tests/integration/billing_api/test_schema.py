"""schemathesis asks everything that the OpenAPI document allows, and some that it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from httpx import InvalidURL
from hypothesis import HealthCheck, reject, settings

from services.billing.edge.http.exports import FORMATS
from tests.support.billing.api import CLOSED_MONTH, Api, open_api

EXAMPLES = 40


@pytest.fixture
def schema(api: Api) -> Any:
    api.close(CLOSED_MONTH)
    return schemathesis.openapi.from_dict(api.get("/openapi/openapi.json").json())


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
    try:
        found = api.door.request(
            sent["method"], sent["url"], params=sent.get("params"), headers=api.keys.make()
        )
    except InvalidURL:  # longer than a client can send: the characters of a cursor are encoded
        reject()
    assert found.status_code < 500, found.text
    assert found.status_code != 401
    if found.status_code >= 400:
        assert found.headers["content-type"] == "application/problem+json"


def test_the_document_describes_every_route_and_parameter(tmp_path: Path) -> None:
    with open_api(tmp_path) as api:
        found = api.get("/openapi/openapi.json")
    document = json.loads(found.content)
    assert document["openapi"].startswith("3.1")
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    paths = document["paths"]
    assert set(paths) == {
        "/health",
        "/v1/months",
        "/v1/months/{month}",
        "/v1/quotas",
        "/v1/statements/{month}",
        "/v1/statements/{month}/lines",
        "/v1/usage",
        "/v1/usage/messages",
        "/v1/usage/messages.csv",
        "/v1/adjustments",
        *(f"/v1/usage{form.suffix}" for form in FORMATS),
        *(f"/v1/adjustments{form.suffix}" for form in FORMATS),
    }
    parameters = {each["name"] for each in paths["/v1/usage"]["get"]["parameters"]}
    assert parameters == {
        *("month", "from", "to", "client", "mailing_id", "sub_client", "group"),
        *("limit", "cursor", "wait_s", "columns", "style"),
    }
    for path, item in paths.items():
        if path.startswith("/v1/"):
            assert {"200", "400", "401", "403", "429"} <= item["get"]["responses"].keys(), path
