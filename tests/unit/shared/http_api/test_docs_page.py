"""The page that documents an API."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from shared.http_api.docs_page import HEADERS, docs_page

DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Orders", "version": "7", "description": "All about <orders> & more."},
    "paths": {
        "/v1/orders/{name}": {
            "parameters": [{"$ref": "#/components/parameters/Name"}],
            "get": {
                "summary": "One order",
                "responses": {
                    "200": {
                        "description": "Found.",
                        "headers": {"ETag": {}},
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Order"}}
                        },
                    }
                },
            },
            "put": {
                "security": [],
                "requestBody": {
                    "content": {"text/csv": {"schema": {"type": "string", "maxLength": 9}}}
                },
                "responses": {},
            },
        }
    },
    "components": {
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        "parameters": {
            "Name": {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
        },
        "schemas": {
            "Order": {
                "properties": {
                    "state": {"enum": ["open", "closed"]},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Order"}},
                    "note": {"oneOf": [{"type": "null"}, {"type": ["string", "integer"]}]},
                }
            }
        },
    },
}


class Page(HTMLParser):
    """The text and the elements of a page; fails on an element that is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [str(value) for name, value in attrs if name == "id"]
        self.links += [str(value) for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "link", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


def test_the_page_names_every_operation_with_parameters_content_and_answers() -> None:
    page = Page(docs_page(DOCUMENT))
    for text in (
        *("GET /v1/orders/{name}", "PUT /v1/orders/{name}", "One order", "Needs no key."),
        *("state: open | closed", "note: null or string or integer", "characters at most 9"),
        *("Headers: ETag.", "key: http bearer", "All about <orders> & more."),
    ):
        assert text in page.text, text
    assert page.text.count("namepathstringyes") == 2


def test_the_page_has_no_script_and_links_to_its_own_headings_only() -> None:
    page = Page(docs_page(DOCUMENT))
    assert not {"script", "img", "iframe", "form"} & set(page.tags)
    assert {link.removeprefix("#") for link in page.links if link != "data:,"} == set(page.ids)
    assert "script-src" not in HEADERS["Content-Security-Policy"]
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x onerror=a>'])
def test_text_of_the_document_is_never_html(hostile: str) -> None:
    found = {
        "info": {"title": hostile, "version": hostile, "description": hostile},
        "paths": {
            f"/{hostile}": {
                "get": {
                    "summary": hostile,
                    "parameters": [
                        {"name": hostile, "in": "query", "schema": {"enum": [hostile]}},
                        {"name": "b", "in": hostile, "schema": {"type": hostile}},
                    ],
                    "responses": {hostile: {"content": {hostile: {}}, "headers": {hostile: {}}}},
                }
            }
        },
    }
    page = Page(docs_page(found))
    assert not {"script", "img"} & set(page.tags)
    assert page.text.count(hostile) >= 8


@pytest.mark.parametrize(
    "document", [{}, {"paths": {"/a": {"get": {"responses": {"200": {"$ref": "#/no/where"}}}}}}]
)
def test_a_document_with_gaps_is_drawn_all_the_same(document: dict[str, Any]) -> None:
    assert Page(docs_page(document)).tags
