"""Generates the definition `settings` of helm/values.schema.json from the services' settings.

Owns: the definition `settings`, and the list of settings that the chart computes itself. The rest
of the schema is written by hand. Helm refuses a setting of the wrong type or out of range.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec
from msgspec import structs

from tools.chart.components import COMPONENTS, model_of

SECTIONS: Final = "settings"

# The chart computes these settings from its own values. If users could also set them, the two
# values could contradict each other.
OWNED: Final = frozenset(
    {
        "runtime.instance",
        *(f"kafka.{key}" for key in ("bootstrap", "static_membership", "replication")),
        *(f"kafka.{key}" for key in ("min_insync_replicas", "allow_low_replication")),
        *(f"kafka.{key}" for key in ("partitions", "intake_partitions", "security_protocol")),
        *(f"kafka.{key}" for key in ("tls_ca_file", "tls_certificate_file", "tls_key_file")),
        *(f"kafka.{key}" for key in ("tls_check_host_name", "sasl_mechanism", "sasl_username")),
        *(f"kafka.{key}" for key in ("sasl_password_file", "oauth_token_url", "oauth_client_id")),
        *(f"kafka.{key}" for key in ("oauth_client_secret_file", "oauth_scope")),
        *(f"redis.{key}" for key in ("url", "username", "password_file", "tls_ca_file")),
        *(f"redis.{key}" for key in ("tls_certificate_file", "tls_key_file")),
        "telemetry.http_host",
        "telemetry.http_port",
        *(f"ingest.{key}" for key in ("smtp_listen", "smtps_listen", "smtp_proxies")),
        *(f"ingest.{key}" for key in ("smtp_host_name", "smtp_shared_ports", "reads_intakes")),
        *(f"ingest.{key}" for key in ("tls_certificate_file", "tls_key_file")),
        *(f"ingest.{key}" for key in ("bounce_listen", "bounce_host_name", "bounce_proxies")),
        *(f"ingest.{key}" for key in ("bounce_tls_certificate_file", "bounce_tls_key_file")),
        "return_path.keys_file",
        "validate.lanes",
        *(
            f"deliver.{key}"
            for key in ("ehlo_name", "dkim_keys", "dkim_key_file", "dkim_selector", "logins_file")
        ),
        *(f"api.{key}" for key in ("http_host", "http_port")),
        *(f"billing.{key}" for key in ("http_host", "http_port", "group")),
    }
)


def with_settings(schema_text: str) -> str:
    """Return the schema with the current definitions of the settings in the code."""
    schema = json.loads(schema_text)
    schema["definitions"][SECTIONS] = settings_definition()
    return json.dumps(schema, indent=2) + "\n"


def settings_definition() -> dict[str, Any]:
    """Return the draft-07 schema of the settings by section, without settings in OWNED."""
    services = dict.fromkeys(component.service for component in COMPONENTS.values())
    sections: dict[str, Any] = {}
    for service in services:
        for section in structs.fields(model_of(service)):
            sections.setdefault(section.name, _section(section.name, section.type))
    return {"type": "object", "additionalProperties": False, "properties": sections}


def _section(name: str, model: Any) -> dict[str, Any]:
    properties = {
        field.encode_name: _portable(_inlined(msgspec.json.schema(field.type)))
        for field in structs.fields(model)
        if f"{name}.{field.encode_name}" not in OWNED
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with each reference to a Struct replaced by the Struct's schema."""
    found = dict(schema)
    definitions = found.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return resolve(definitions[node["$ref"].rpartition("/")[2]])
        return {key: resolve(value) for key, value in node.items()}

    resolved: dict[str, Any] = resolve(found)
    return resolved


def _portable(node: Any) -> Any:
    """Return the schema without patterns that Go's RE2 lacks, and without titles and defaults."""
    if isinstance(node, list):
        return [_portable(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {}
    for key, value in node.items():
        if key in ("title", "default"):
            continue
        if key == "pattern":
            # RE2 does not support look-around, so a pattern with look-around is left out. The
            # service itself still checks the value.
            if not re.search(r"\(\?[=!<]", value):
                found[key] = value.replace(r"\Z", "$")
            continue
        found[key] = _portable(value)
    return found
