"""Generates the page that documents an HTTP API, from the API's OpenAPI 3.1 document.

The page is one HTML file without scripts, fonts, images or parts from other servers. The content
security policy of the page forbids everything except the page's own style sheet. Text from the
document is escaped. docs_page() generates the page and is pure; docs_route() serves the page at
DOCS_PATH. An application adds DOCS_PATH to AccessPolicy.public, because a browser sends no key when
it opens an address. The page contains no data of clients.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

_METHODS: Final = ("get", "head", "post", "put", "patch", "delete", "options", "trace")
# At this depth, only the name of a schema is shown, because a schema may contain itself.
_DEPTH: Final = 4
_STYLE: Final = """
body{margin:0 auto;padding:1rem;max-width:60rem;background:#fff;color:#1a1d21;
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1,h2,h3{color:#14375e;line-height:1.25}h2{border-top:1px solid #b6bcc6;padding-top:1rem}
code{font-family:ui-monospace,monospace}nav ul{padding-left:1.2rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
caption{text-align:left;font-weight:600;padding:.5rem 0 .25rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #b6bcc6}
a{color:#14375e}:focus-visible{outline:3px solid #b34700;outline-offset:2px}
@media print{nav{display:none}.scroll{overflow:visible}}
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
DOCS_PATH: Final = "/docs"
HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def docs_route() -> HTTPRouteHandler:
    """Return the route of the page. The page is generated at the first request."""
    pages: list[bytes] = []

    @get(DOCS_PATH, include_in_schema=False, sync_to_thread=True)
    def docs(request: Request[Any, Any, Any]) -> Response[bytes]:
        if not pages:
            document = request.app.openapi_schema.to_schema()
            # Examples in the document may be Structs, which are converted to plain values.
            pages.append(docs_page(msgspec.to_builtins(document, enc_hook=str)).encode())
        return Response(pages[0], media_type="text/html", headers=HEADERS)

    return docs


def docs_page(document: Mapping[str, Any]) -> str:
    """Return the HTML of an OpenAPI document that consists of plain values."""
    info = document.get("info", {})
    title = _text(info.get("title", "API"))
    operations = list(_operations(document))
    links = "".join(
        f'<li><a href="#{_text(name)}">{_heading(method, path)}</a> {_text(_short(each))}</li>'
        for name, method, path, each in operations
    )
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}: the API</title><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head><body>",
        f"<header><h1>{title}</h1><p>Version {_text(info.get('version', ''))}. "
        f"OpenAPI {_text(document.get('openapi', ''))}.</p>",
        _paragraph(info.get("description", "")),
        _access(document),
        f'</header><nav aria-label="Operations"><ul>{links}</ul></nav><main>',
        *(_operation(document, *each) for each in operations),
        "</main></body></html>\n",
    ]
    return "\n".join(parts)


def _operations(
    document: Mapping[str, Any],
) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """Yield the name, method, path and definition of each operation, in the document's order."""
    for path, item in document.get("paths", {}).items():
        for method in _METHODS:
            if method in item:
                shared = item.get("parameters", [])
                operation = {**item[method]}
                operation["parameters"] = [*shared, *operation.get("parameters", [])]
                yield f"{method}{path.replace('/', '-')}", method, path, operation


def _operation(
    document: Mapping[str, Any], name: str, method: str, path: str, operation: Mapping[str, Any]
) -> str:
    is_open = operation.get("security") == []
    return "\n".join(
        [
            f'<section aria-labelledby="{_text(name)}">',
            f'<h2 id="{_text(name)}">{_heading(method, path)}</h2>',
            _paragraph(operation.get("summary", "")),
            _paragraph(operation.get("description", "")),
            "<p>Needs no key.</p>" if is_open else "",
            _parameters(document, operation["parameters"]),
            _body(document, operation.get("requestBody")),
            _responses(document, operation.get("responses", {})),
            "</section>",
        ]
    )


def _parameters(document: Mapping[str, Any], parameters: list[Any]) -> str:
    rows = []
    for each in (_resolved(document, found) for found in parameters):
        schema = each.get("schema", {})
        needed = "yes" if each.get("required") else ""
        about = each.get("description") or schema.get("description", "")
        kind = _kind(document, schema)
        rows.append((f"<code>{_text(each['name'])}</code>", _text(each["in"]), kind, needed, about))
    return _table("Parameters", ("name", "in", "type", "required", "meaning"), rows)


def _body(document: Mapping[str, Any], body: Mapping[str, Any] | None) -> str:
    if body is None:
        return ""
    found = _resolved(document, body)
    rows = [
        (f"<code>{_text(media)}</code>", _kind(document, each.get("schema", {})), "")
        for media, each in found.get("content", {}).items()
    ]
    return _table("Request body", ("media type", "content", "meaning"), rows)


def _responses(document: Mapping[str, Any], responses: Mapping[str, Any]) -> str:
    rows = []
    for status, each in responses.items():
        found = _resolved(document, each)
        forms = "<br>".join(
            f"<code>{_text(media)}</code> {_kind(document, form.get('schema', {}))}"
            for media, form in found.get("content", {}).items()
        )
        headers = ", ".join(found.get("headers", {}))
        about = " ".join(
            [found.get("description", ""), f"Headers: {headers}." if headers else ""]
        ).strip()
        rows.append((_text(status), forms, about))
    return _table("Responses", ("status", "content", "meaning"), rows)


def _table(caption: str, names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table. The last cell of each row is text; the other cells are HTML."""
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in (*row[:-1], _text(row[-1]))) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{caption}"><table>'
        f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _kind(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int = 0) -> str:
    """Describe the values that a schema allows, as HTML on one line."""
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name and depth >= _DEPTH:
        return _text(name)
    found = _resolved(document, schema)
    for word in ("oneOf", "anyOf", "allOf"):
        if word in found:
            joint = " and " if word == "allOf" else " or "
            return joint.join(_kind(document, each, depth + 1) for each in found[word])
    if "enum" in found or "const" in found:
        values = found.get("enum", [found.get("const")])
        return " | ".join(f"<code>{_text(value)}</code>" for value in values)
    if found.get("type") == "array":
        return f"array of {_kind(document, found.get('items', {}), depth + 1)}"
    if properties := found.get("properties"):
        fields = ", ".join(
            f"<code>{_text(key)}</code>: {_kind(document, each, depth + 1)}"
            for key, each in properties.items()
        )
        return f"{_text(name or 'object')} {{{fields}}}"
    return _plain_kind(found)


def _plain_kind(schema: Mapping[str, Any]) -> str:
    kinds = schema.get("type", "any")
    words = [" or ".join(kinds) if isinstance(kinds, list) else str(kinds)]
    limits = {
        "format": "",
        "pattern": "matches ",
        "minimum": "at least ",
        "maximum": "at most ",
        "maxLength": "characters at most ",
        "default": "default ",
    }
    words += [f"{text}{schema[key]}" for key, text in limits.items() if schema.get(key, "") != ""]
    return _text(", ".join(words))


def _resolved(document: Mapping[str, Any], found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference within the document; return {} if the reference has no target."""
    for _ in range(_DEPTH):
        reference = found.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return found
        place: Any = document
        for step in reference[2:].split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            place = place.get(key, {}) if isinstance(place, Mapping) else {}
        found = place if isinstance(place, Mapping) else {}
    return found


def _access(document: Mapping[str, Any]) -> str:
    schemes = document.get("components", {}).get("securitySchemes", {})
    words = [
        f"{name}: {each.get('type')} {each.get('scheme', '')}" for name, each in schemes.items()
    ]
    return _paragraph(f"Access: {'; '.join(words).strip()}." if words else "")


def _short(operation: Mapping[str, Any]) -> str:
    return str(operation.get("summary", ""))


def _heading(method: str, path: str) -> str:
    return f"<code>{method.upper()} {_text(path)}</code>"


def _paragraph(text: str) -> str:
    return f"<p>{_text(text)}</p>" if text else ""


def _text(value: Any) -> str:
    return escape(str(value))
