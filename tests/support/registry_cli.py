"""Clients for the registry, and the clients command run as an operator does."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid

import msgspec

from cli.stack.environment import base_environment
from shared.registry.client import Client, Code


def a_client(name: str = "") -> Client:
    name = name or f"c-{uuid.uuid4().hex[:12]}"
    codes = {"spring": Code("M-2", "shop-a")}
    return Client(name, f"news.{name}.example", f"returns@{name}.example", "M-1", codes)


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.clients.command", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=base_environment(),
    )


def clients_yaml(client: Client) -> str:
    return json.dumps({"clients": [msgspec.to_builtins(client)]})  # JSON is YAML
