"""The first contents of a broker's data folder: by the tool once, then copied with other ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.parts import kafka_folder
from local.parts.kafka_broker import BrokerPlan, properties
from local.parts.kafka_folder import format_folder, is_formatted, make_id

FEATURES = b"\0\1levels of features"
IDS = {"cluster.id": "B-of-the-cluster", "node.id": "3"}


class Tool:
    """Kafka's tool, as far as it matters here."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.runs = 0

    def __call__(self) -> None:
        self.runs += 1
        self._data.mkdir(parents=True)
        (self._data / "bootstrap.checkpoint").write_bytes(FEATURES)
        text = "#\n#Mon Nov 30\nnode.id=1\ndirectory.id=Bx==\nversion=1\ncluster.id=Bfirst\n"
        (self._data / "meta.properties").write_text(text)


def ids_of(data: Path) -> dict[str, str]:
    lines = (data / "meta.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Path]:
    model = tmp_path / "model"
    yield model
    assert not list(tmp_path.glob("**/*-??????*/meta.properties")), "a draft was left"


def test_the_tool_formats_the_first_folder_and_the_others_are_copies(
    tmp_path: Path, model: Path
) -> None:
    data = [tmp_path / name / "data" for name in ("first", "second", "third")]
    tools = [Tool(folder) for folder in data]
    for folder, tool in zip(data, tools, strict=True):
        format_folder(folder, model, IDS, tool)
    assert [tool.runs for tool in tools] == [1, 0, 0]
    assert all((folder / "bootstrap.checkpoint").read_bytes() == FEATURES for folder in data)


def test_a_copy_has_its_own_ids_and_keeps_the_rest(tmp_path: Path, model: Path) -> None:
    data = [tmp_path / name / "data" for name in ("first", "second", "third")]
    for folder in data:
        format_folder(folder, model, IDS, Tool(folder))
    for folder in data[1:]:
        assert ids_of(folder).items() >= {**IDS, "version": "1"}.items()
        assert sorted(ids_of(folder)) == sorted(ids_of(data[0]))
    assert len({ids_of(folder)["directory.id"] for folder in data}) == len(data)


def test_half_a_folder_of_an_interrupted_tool_is_replaced(tmp_path: Path, model: Path) -> None:
    first, second = tmp_path / "first" / "data", tmp_path / "second" / "data"
    format_folder(first, model, IDS, Tool(first))
    second.mkdir(parents=True)
    (second / "bootstrap.checkpoint").write_bytes(b"\0")
    format_folder(second, model, IDS, Tool(second))
    assert is_formatted(second)
    assert (second / "bootstrap.checkpoint").read_bytes() == FEATURES


def test_a_model_that_another_start_has_made_meanwhile_stays(tmp_path: Path, model: Path) -> None:
    data = tmp_path / "first" / "data"
    tool = Tool(data)

    def slow_tool() -> None:
        tool()
        Tool(model)()
        (model / "bootstrap.checkpoint").write_bytes(b"of the other")

    format_folder(data, model, IDS, slow_tool)
    assert (model / "bootstrap.checkpoint").read_bytes() == b"of the other"
    assert is_formatted(data)


def test_without_a_place_for_the_model_the_tool_formats_each_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("first", "second"):
        tool = Tool(tmp_path / name / "data")
        format_folder(tmp_path / name / "data", tmp_path / "file" / "model", IDS, tool)
        assert tool.runs == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("meta.properties", content) for content in (None, b"", b"\xff", b"version=1\n")),
        *(("bootstrap.checkpoint", content) for content in (None, b"")),
    ],
)
def test_a_damaged_model_is_made_again(
    tmp_path: Path, model: Path, name: str, content: bytes | None
) -> None:
    folders = [tmp_path / each / "data" for each in ("first", "second", "third")]
    tools = [Tool(folder) for folder in folders]
    format_folder(folders[0], model, IDS, tools[0])
    (model / name).unlink()
    if content is not None:
        (model / name).write_bytes(content)
    for folder, tool in zip(folders[1:], tools[1:], strict=True):
        format_folder(folder, model, IDS, tool)
    assert [tool.runs for tool in tools] == [1, 1, 0]
    for folder in folders:
        assert (folder / "bootstrap.checkpoint").read_bytes() == FEATURES
        assert ids_of(folder)["version"] == "1"


def test_an_id_is_never_read_as_an_option_and_never_one_that_kafka_reserves() -> None:
    made = [make_id() for _ in range(200)]
    assert {len(each) for each in made} == {22}
    assert {each[0] for each in made} == {"B"}
    assert len({*made}) == len(made)


@pytest.mark.parametrize(
    ("text", "keeps"),
    [
        ("node.id=1\ncontroller.quorum.bootstrap.servers=127.0.0.1:2\n", True),
        ("node.id=1\ncontroller.quorum.voters=1@127.0.0.1:2\n", False),
        (None, False),
    ],
)
def test_a_node_formatted_with_a_quorum_of_its_own_is_recognised(
    text: str | None, keeps: bool, tmp_path: Path
) -> None:
    settings = tmp_path / "server.properties"
    if text is not None:
        settings.write_text(text)
    assert kafka_folder.keeps_own_quorum(settings) is keeps


def test_such_a_node_finds_its_quorum_as_before(tmp_path: Path) -> None:
    usual = properties(BrokerPlan(tmp_path, 21_000, 21_001))
    assert usual["controller.quorum.voters"] == "1@127.0.0.1:21001"
    changed = kafka_folder.with_own_quorum(usual)
    assert "controller.quorum.voters" not in changed
    assert changed["controller.quorum.bootstrap.servers"] == "127.0.0.1:21001"
