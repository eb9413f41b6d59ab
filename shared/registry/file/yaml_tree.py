"""Reads YAML as a bounded tree of tables, lists and texts, without YAML's type detection."""

from __future__ import annotations

from typing import Final

import yaml

MAX_FILE_BYTES: Final = 32 * 1024 * 1024
# An alias may repeat a branch, so that a short file expands into a huge tree.
MAX_NODES: Final = 2_000_000
MAX_DEPTH: Final = 10
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})

Tree = dict[str, "Tree"] | list["Tree"] | str | None
Twice = tuple[str, int]


class TreeError(ValueError):
    """The file is too large or too deep."""


def read_tree(text: str) -> tuple[Tree, list[Twice]]:
    """Return the tree of a YAML document, and each duplicate key as (path, line).

    Raises yaml.YAMLError if the text is not YAML, TreeError if it is too large or too deep.
    """
    if len(text) > MAX_FILE_BYTES:
        raise TreeError(f"{len(text)} characters")
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    root = yaml.compose(text, Loader=loader)
    walk = _Walk()
    return (walk.tree(root, "", 0) if root is not None else None), walk.twice


class _Walk:
    def __init__(self) -> None:
        self.twice: list[Twice] = []
        self._nodes = 0

    def tree(self, node: yaml.Node, path: str, depth: int) -> Tree:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise TreeError(f"{'deep nesting' if depth > MAX_DEPTH else 'too many values'}")
        if isinstance(node, yaml.MappingNode):
            return self._table(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [
                self.tree(child, f"{path}[{i}]", depth + 1) for i, child in enumerate(node.value)
            ]
        # Only a plain scalar is null; a quoted one is text.
        if isinstance(node, yaml.ScalarNode) and not node.style and node.value in _NULLS:
            return None
        return str(node.value)

    def _table(self, node: yaml.MappingNode, path: str, depth: int) -> Tree:
        table: dict[str, Tree] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            here = f"{path}.{key}" if path else key
            if key in table:
                self.twice.append((here, key_node.start_mark.line + 1))
            table[key] = self.tree(value_node, here, depth + 1)
        return table
