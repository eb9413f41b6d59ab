"""Each workaround for kafka-python is for the installed version, and private names stay there."""

from __future__ import annotations

import ast
from importlib.metadata import version
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer

import shared

ROOT = Path(shared.__file__).parent.parent
FOLDER = ROOT / "shared" / "stream" / "kafka_python"
WORKAROUNDS = sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")
SOURCES = [
    path
    for part in ("shared", "services", "cli", "local", "tools")
    for path in sorted((ROOT / part).rglob("*.py"))
    if path.parent != FOLDER
]
# Attributes of kafka-python's clients that are private.
PRIVATE = {
    name
    for kind in (KafkaConsumer, KafkaProducer)
    for name in (*vars(kind), "_client", "_cluster", "_coordinator", "_fetcher", "_metadata")
    if name.startswith("_") and not name.startswith("__")
}


@pytest.mark.parametrize("path", WORKAROUNDS, ids=lambda path: path.stem)
def test_a_workaround_names_the_version_it_was_written_for(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    wanted = f"kafka-python {version('kafka-python')}"
    assert wanted in " ".join(text.split()), (
        f"{path.name} is not for {wanted}: check whether it is still needed and right, and write"
        " the version into its docstring"
    )


def test_there_is_still_no_public_way_to_ask_for_a_topics_id() -> None:
    assert not hasattr(KafkaConsumer, "topic_id"), "topic_ids.py can go"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_file_uses_private_names_of_the_clients(path: Path) -> None:
    used = [
        f"{path.name}:{node.lineno}: {node.attr}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in PRIVATE
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    ]
    assert not used, "move it to shared/stream/kafka_python: " + ", ".join(used)
