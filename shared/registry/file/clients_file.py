"""Reads clients.yaml, and reports all faults at once with their paths, for example
`clients[1].codes.spring`.

clients:
      - name: acme
        sending_domain: news.acme.example
        forwarding_address: returns@acme.example
        mailing_id: M-1000
        codes:
          spring: {mailing_id: M-1001, sub_client: shop-a}

All YAML values are read as text (yaml_tree.py), so `mailing_id: 0123` does not become a number and
a code named `on` does not become a boolean. Owns: the rules between fields and between clients.
Does not own: the fields (declarations.py), the rules of one value (fields.py).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shared.mail.verp import mailing_hash
from shared.registry.client import Client, Code
from shared.registry.file import fields
from shared.registry.file.declarations import (
    CLIENT,
    CODE,
    CODE_TEXT,
    MAX_CODES,
    MAX_FREE_PATTERNS,
    MAX_PATTERNS_CHARS,
    Field,
    Kind,
)
from shared.registry.file.yaml_tree import RegistryError, RegistryFault, Tree, read_tree, shown


def parse_clients_yaml(text: str, name: str = "clients.yaml") -> list[Client]:
    """Parse a clients.yaml. Raises RegistryError, which has all faults.

    `name` is the file name, which is shown in faults of the whole file.
    """
    reading = _Reading(name)
    tree, twice = read_tree(text, name)
    reading.faults += twice
    clients = reading.file(tree)
    if reading.faults:
        raise RegistryError(reading.faults)
    return clients


class _Reading:
    """Reads the tree of a file in one pass, and collects the faults."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.faults: list[RegistryFault] = []

    def fault(self, path: str, found: Tree, expected: str) -> None:
        self.faults.append(RegistryFault(path, shown(found), expected))

    def file(self, tree: Tree) -> list[Client]:
        table = self._table(tree, self._name, ("clients",))
        entries = table.get("clients")
        if not isinstance(entries, list):
            if isinstance(tree, dict):
                self.fault("clients", entries, "a list of clients")
            return []
        read = [self._client(entry, f"clients[{i}]") for i, entry in enumerate(entries)]
        self._unique(read, "name")
        self._unique(read, "sending_domain")
        return [Client(**values) for values in read if not self.faults]

    def _client(self, tree: Tree, path: str) -> dict[str, Any]:
        table = self._table(tree, path, (*(field.key for field in CLIENT), "codes"))
        if not isinstance(tree, dict):
            return {}
        values = self._fields(table, path, CLIENT)
        if table.get("codes") is not None:
            values["codes"] = self._codes(table["codes"], f"{path}.codes")
            self._return_paths(values, path)
        self._forwarding(values, path)
        self._block_list(values.get("block_list", ()), f"{path}.block_list")
        return values

    def _return_paths(self, values: dict[str, Any], path: str) -> None:
        """Check that each mailing has a unique short hash, because bounces identify the mailing by
        this hash."""
        codes: dict[str, Code] = values["codes"]
        standard = Code(values.get("mailing_id", ""))
        first = {mailing_hash(standard.mailing_id, ""): standard}
        for text, row in codes.items():
            other = first.setdefault(mailing_hash(row.mailing_id, row.sub_client), row)
            if (other.mailing_id, other.sub_client) != (row.mailing_id, row.sub_client):
                self.fault(
                    f"{path}.codes.{text}",
                    f"{row.mailing_id} with {row.sub_client}",
                    f"another name: bounces could not tell it from {other.mailing_id}"
                    f" with {other.sub_client}",
                )

    def _forwarding(self, values: dict[str, Any], path: str) -> None:
        address, sending = values.get("forwarding_address"), values.get("sending_domain")
        if address and sending and fields.is_part_of(address.rpartition("@")[2], sending):
            self.fault(
                f"{path}.forwarding_address",
                address,
                f"a host that is neither the sending domain {sending} nor part of it",
            )

    def _block_list(self, patterns: Sequence[str], path: str) -> None:
        free = sum(map(fields.has_free_wildcards, patterns))
        if free > MAX_FREE_PATTERNS:
            self.faults.append(
                RegistryFault(
                    path,
                    f"{free} patterns with wildcards",
                    f"at most {MAX_FREE_PATTERNS}, not counting those like *@example.com",
                )
            )
        letters = sum(map(len, patterns))
        if letters > MAX_PATTERNS_CHARS:
            self.faults.append(
                RegistryFault(
                    path,
                    f"{letters} characters in all patterns",
                    f"at most {MAX_PATTERNS_CHARS}",
                )
            )

    def _codes(self, tree: Tree, path: str) -> dict[str, Code]:
        if not isinstance(tree, dict) or len(tree) > MAX_CODES:
            expected = (
                f"a table of at most {MAX_CODES} codes, each with its mailing_id and sub_client"
            )
            self.fault(path, tree, expected)
            return {}
        codes: dict[str, Code] = {}
        spelled: dict[str, str] = {}
        for text, row in tree.items():
            here = f"{path}.{text}"
            self._scalar(text, here, CODE_TEXT)
            twin = spelled.setdefault(text.lower(), text)
            if twin != text:
                self.fault(here, text, f"a code that differs from {twin} by more than its case")
            table = self._table(row, here, tuple(field.key for field in CODE))
            if isinstance(row, dict):
                values = self._fields(table, here, CODE)
                if all(field.key in values for field in CODE if field.required):
                    codes[text] = Code(**values)
        for text, found, expected in _quota_faults(codes):
            self.fault(f"{path}.{text}.monthly_quota", found, expected)
        return codes

    def _table(self, tree: Tree, path: str, names: tuple[str, ...]) -> dict[str, Tree]:
        if not isinstance(tree, dict):
            self.fault(path, tree, "a table with the keys " + ", ".join(names))
            return {}
        for key in tree:
            if key not in names:
                near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]}?" if near else ""
                listed = ", ".join(names) + hint
                within = "" if path == self._name else f"{path}."
                self.faults.append(
                    RegistryFault(
                        within + key,
                        "an unknown key",
                        f"one of {listed}",
                        f"unknown key; known: {listed}",
                    )
                )
        return tree

    def _fields(
        self, table: dict[str, Tree], path: str, declared: tuple[Field, ...]
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for field in declared:
            found, here = table.get(field.key), f"{path}.{field.key}"
            if found is None:
                if field.required:
                    self.faults.append(
                        RegistryFault(here, "nothing", "a value", "required, but it has no value")
                    )
                continue
            read = (
                self._list(found, here, field)
                if field.most
                else self._scalar(found, here, field.kind)
            )
            if read is not None:
                values[field.key] = read
        return values

    def _scalar(self, found: Tree, path: str, kind: Kind) -> Any:
        if not isinstance(found, str):
            self.fault(path, found, "one value")
            return None
        try:
            return kind.parse(found)
        except fields.FieldError as error:
            self.fault(path, found, str(error))
            return None

    def _list(self, tree: Tree, path: str, field: Field) -> tuple[str, ...]:
        if not isinstance(tree, list) or len(tree) > field.most:
            self.fault(path, tree, f"a list of at most {field.most}")
            return ()
        read = [self._scalar(item, f"{path}[{i}]", field.kind) for i, item in enumerate(tree)]
        return tuple(value for value in read if value is not None)

    def _unique(self, read: list[dict[str, Any]], key: str) -> None:
        first: dict[str, int] = {}
        for index, values in enumerate(read):
            value = values.get(key)
            if value is None:
                continue
            twin = first.setdefault(value, index)
            if twin != index:
                self.faults.append(
                    RegistryFault(
                        f"clients[{index}].{key}",
                        shown(value),
                        f"another one: clients[{twin}] has it",
                        f"{shown(value)} is already used by clients[{twin}]",
                    )
                )


def _quota_faults(codes: Mapping[str, Code]) -> Iterator[tuple[str, str, str]]:
    """Yield each code whose quota differs from another code's quota for the same sub-client.

    Each result has the code, the value that was found and the value that is expected. All codes of
    a sub-client must have the same quota, because the quota belongs to the sub-client.
    """
    first: dict[str, str] = {}
    for text, row in codes.items():
        if not row.monthly_quota:
            continue
        other = first.setdefault(row.sub_client, text)
        if (quota := codes[other].monthly_quota) != row.monthly_quota:
            expected = f"{quota}, as in {other}, which has the same sub_client, or none"
            yield text, str(row.monthly_quota), expected
