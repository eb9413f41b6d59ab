"""Writes the first contents of a new data folder of an embedded broker.

Kafka requires that a folder is formatted before the node starts. Kafka's tool has to start Java to
write two small files. These files are the same in all folders, except for the ids. So the tool
formats one folder, the model, for each version of Kafka. All other folders are copies of the model
with their own ids.

Owns: the two files, and the model, which is beside the jars. Does not own: the files that the node
writes later, the settings of the node (kafka_broker.py).

On failure: the data folder and the model are each written whole or not at all. So after an
interrupted start, or two starts at the same time, the next start either formats the folder or finds
it complete. If the model cannot be written, the tool formats each folder. A damaged model is
replaced.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

_IDS: Final = "meta.properties"
# This file contains the feature levels with which a new cluster of this Kafka version starts.
_FEATURES: Final = "bootstrap.checkpoint"
# If a node was formatted with its own quorum, its data has the addresses of the quorum. In the
# settings of such a node, this key replaces controller.quorum.voters.
_OWN_QUORUM: Final = "controller.quorum.bootstrap.servers"

# A function that formats the folder in the settings with Kafka's tool.
FormatWithTool = Callable[[], None]


def make_id() -> str:
    """Return a new id for a cluster or a folder."""
    made = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # The tool would treat an id that begins with a hyphen as an option. Kafka reserves ids that
    # begin with many zeros.
    return "B" + made[1:]


def is_formatted(data: Path) -> bool:
    """Return True if a node can start with this data folder."""
    return (data / _IDS).exists()


def keeps_own_quorum(settings: Path) -> bool:
    """Return True if a node with these settings has the addresses of its quorum in its data folder.

    In that case, the settings must not contain the addresses as well.
    """
    with suppress(FileNotFoundError):
        return f"{_OWN_QUORUM}=" in settings.read_text()
    return False


def with_own_quorum(properties: dict[str, str]) -> dict[str, str]:
    """Return the settings for a node that has the addresses of its quorum in its data."""
    addresses = properties["controller.quorum.voters"].split("@")[-1]
    others = {key: value for key, value in properties.items() if key != "controller.quorum.voters"}
    return {**others, _OWN_QUORUM: addresses}


def format_folder(
    data: Path, model: Path, ids: dict[str, str], format_with_tool: FormatWithTool
) -> None:
    """Format a data folder with these ids (`cluster.id`, `node.id`) by copying the model.

    If there is no model, the tool formats the folder, and a copy of the folder becomes the model.
    """
    if _is_whole(model):
        _copy(model, data, {**ids, "directory.id": make_id()})
        return
    format_with_tool()
    with suppress(OSError):
        if model.exists() and not _is_whole(model):
            shutil.rmtree(model)
        _copy(data, model, {})


def _is_whole(model: Path) -> bool:
    """Return True if both files exist and have the required content."""
    try:
        ids, features = (model / _IDS).read_text(), (model / _FEATURES).read_bytes()
    except (OSError, UnicodeDecodeError):
        return False
    found = {line.partition("=")[0] for line in ids.splitlines()}
    return bool(features) and found >= {"version", "node.id", "cluster.id", "directory.id"}


def _copy(source: Path, target: Path, ids: dict[str, str]) -> None:
    """Copy a formatted folder with other ids. Raises OSError if the target is already formatted."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{target.name}-", dir=target.parent) as made:
        draft = Path(made) / target.name
        draft.mkdir()
        shutil.copyfile(source / _FEATURES, draft / _FEATURES)
        (draft / _IDS).write_text(_with_ids((source / _IDS).read_text(), ids))
        if target.exists() and not is_formatted(target):  # The tool was interrupted.
            shutil.rmtree(target)
        draft.rename(target)


def _with_ids(text: str, ids: dict[str, str]) -> str:
    lines = [line.partition("=") for line in text.splitlines() if not line.startswith("#")]
    return "".join(f"{key}={ids.get(key, value)}\n" for key, _, value in lines)
