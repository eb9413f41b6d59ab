"""Clients for the registry, and the clients command run as an operator does."""

from __future__ import annotations

import json
import subprocess
import uuid

import msgspec

from shared.registry.client import Client, Code
from tests.support.fork_server import run_module


def a_client(name: str = "") -> Client:
    name = name or f"c-{uuid.uuid4().hex[:12]}"
    codes = {"spring": Code("M-2", "shop-a")}
    return Client(name, f"news.{name}.example", f"returns@{name}.example", "M-1", codes)


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return run_module("cli.clients.command", *arguments, env={}, stdin=stdin)


def clients_yaml(client: Client) -> str:
    return json.dumps({"clients": [msgspec.to_builtins(client)]})  # JSON is YAML
