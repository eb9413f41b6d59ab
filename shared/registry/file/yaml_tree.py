"""Reads YAML as a bounded tree of tables, lists and texts. Each fault is reported with its path.

Values are not converted, so every scalar is text. A duplicate key is a fault, whereas other YAML
readers silently use the last value. RegistryError has all faults of a file, each as a
RegistryFault. The permitted contents of a file are defined in clients_file.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import yaml
from msgspec import Struct

MAX_FILE_BYTES: Final = 32 * 1024 * 1024
# The tree is bounded, because a short file with aliases, which repeat branches, may expand into a
# huge tree.
MAX_NODES: Final = 2_000_000
MAX_DEPTH: Final = 10
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})

Tree = dict[str, "Tree"] | list["Tree"] | str | None


class RegistryFault(Struct, frozen=True, omit_defaults=True):
    """One fault in clients.yaml. If there is no value to compare, `sentence` describes the
    fault."""

    path: str
    found: str
    expected: str
    sentence: str = ""

    def __str__(self) -> str:
        if self.sentence:
            return f"{self.path}: {self.sentence}"
        return f"{self.path}: found {self.found}, expected {self.expected}"


class RegistryError(ValueError):
    """clients.yaml is not valid. `faults` contains all faults of the file."""

    def __init__(self, faults: Iterable[RegistryFault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


class _TreeError(ValueError):
    """The file is too large, or its tree is too deep."""


def read_tree(text: str, name: str) -> tuple[Tree, list[RegistryFault]]:
    """Return the tree of a YAML document, and a fault for each duplicate key.

    `name` is the file name, which is shown in faults of the whole file. Raises RegistryError if the
    text is not YAML, if it is too large, or if the tree is too deep.
    """
    walk = _Walk()
    try:
        root = _compose(text)
        tree = walk.tree(root, "", 0) if root is not None else None
    except yaml.YAMLError as error:
        raise RegistryError([_no_yaml(error, text, name)]) from None
    except _TreeError as fault:
        expected = (
            f"at most {MAX_FILE_BYTES} bytes, {MAX_NODES} values and {MAX_DEPTH} levels of nesting"
        )
        sentence = f"the file has {fault}; it may have {expected}"
        raise RegistryError([RegistryFault(name, str(fault), expected, sentence)]) from None
    return tree, walk.twice


def shown(found: Tree) -> str:
    """Return a description of a value for the text of a fault."""
    match found:
        case None:
            return "nothing"
        case dict():
            return f"a table of {len(found)}"
        case list():
            return f"a list of {len(found)}"
        case str():
            return repr(found if len(found) <= 100 else found[:99] + "…")


def _compose(text: str) -> yaml.Node | None:
    if len(text) > MAX_FILE_BYTES:
        raise _TreeError(f"{len(text)} characters")
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    root: yaml.Node | None = yaml.compose(text, Loader=loader)
    return root


def _no_yaml(error: yaml.YAMLError, text: str, name: str) -> RegistryFault:
    mark = getattr(error, "problem_mark", None)
    lines = text.splitlines()
    if mark is not None and mark.line < len(lines):
        line = lines[mark.line]
        indent = line[: len(line) - len(line.lstrip())]
        if "\t" in indent or line[mark.column : mark.column + 1] == "\t":
            found = f"a tab on line {mark.line + 1}, column {max(line.find(chr(9)), 0) + 1}"
            return RegistryFault(name, found, "YAML indented with spaces")
    reason = " ".join(str(error).replace('"<unicode string>"', name).split())
    return RegistryFault(name, reason, "YAML", f"not valid YAML: {reason}")


class _Walk:
    def __init__(self) -> None:
        self.twice: list[RegistryFault] = []
        self._nodes = 0

    def tree(self, node: yaml.Node, path: str, depth: int) -> Tree:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            is_deep = depth > MAX_DEPTH
            raise _TreeError(
                f"more than {MAX_DEPTH} levels" if is_deep else f"more than {MAX_NODES} values"
            )
        if isinstance(node, yaml.MappingNode):
            return self._table(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [
                self.tree(child, f"{path}[{i}]", depth + 1) for i, child in enumerate(node.value)
            ]
        # Only a scalar without quotes can be null. A scalar with quotes is text.
        if isinstance(node, yaml.ScalarNode) and not node.style and node.value in _NULLS:
            return None
        return str(node.value)

    def _table(self, node: yaml.MappingNode, path: str, depth: int) -> Tree:
        table: dict[str, Tree] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            here = f"{path}.{key}" if path else key
            if key in table:
                again = f"(again on line {key_node.start_mark.line + 1})"
                self.twice.append(
                    RegistryFault(
                        here,
                        f"a duplicate key {again}",
                        "each key once",
                        f"the key occurs twice {again}",
                    )
                )
            table[key] = self.tree(value_node, here, depth + 1)
        return table
