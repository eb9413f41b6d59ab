"""Several concurrent writers of the registry, on a real broker: none undoes another's change."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest
from msgspec.structs import replace

from cli.stack.paths import base_environment
from shared.registry.client import Client, Code
from shared.registry.credentials import verify
from shared.registry.store.changes import Changes, plan_changes
from shared.registry.store.publish import Written, apply, change
from shared.registry.store.view import load_registry
from shared.settings.sections import KafkaSettings
from tests.support.patience import PATIENCE_S
from tests.support.registry_cli import a_client, clients_yaml

CHANGES_EACH: Final = 4
PASSWORDS: Final = ("the first of two", "the second of two")


@pytest.fixture(scope="module")
def kafka(kafka_bootstrap: str) -> KafkaSettings:
    return KafkaSettings(bootstrap=kafka_bootstrap)


@pytest.fixture
def client(kafka: KafkaSettings) -> Client:
    client = a_client()
    apply(kafka, Changes(added=(client,)))
    return client


def add_code(name: str, code: str) -> Callable[[Mapping[str, Client]], Changes]:
    """Reads the client's record, changes one field and writes the whole record."""

    def plan(registered: Mapping[str, Client]) -> Changes:
        known = registered[name]
        codes = {**known.codes, code: Code("M-9", "shop")}
        return Changes(changed=(replace(known, codes=codes),))

    return plan


def test_two_who_change_one_client_at_once_both_have_their_way(
    kafka: KafkaSettings, client: Client
) -> None:
    together = threading.Barrier(2)

    def writer(who: str) -> int:
        tries = 0
        for number in range(CHANGES_EACH):
            together.wait(PATIENCE_S)
            tries += change(kafka, add_code(client.name, f"{who}{number}"), PATIENCE_S).tries
        return tries

    with ThreadPoolExecutor(2) as pool:
        tries = list(pool.map(writer, ("a", "b")))
    codes = load_registry(kafka)[client.name].codes
    wanted = {f"{who}{number}" for who in "ab" for number in range(CHANGES_EACH)}
    assert set(codes) == {*client.codes, *wanted}
    print(f"\n{2 * CHANGES_EACH} changes, two at a time: {sum(tries)} tries")


def test_who_was_overtaken_plans_again_with_what_the_other_one_wrote(
    kafka: KafkaSettings, client: Client
) -> None:
    seen: list[frozenset[str]] = []
    others: list[Written] = []

    def plan(registered: Mapping[str, Client]) -> Changes:
        seen.append(frozenset(registered[client.name].codes))
        if len(seen) == 2:  # read, and about to write: now the other writer interferes
            others.append(change(kafka, add_code(client.name, "theirs")))
        return add_code(client.name, "ours")(registered)

    written = change(kafka, plan)
    # Tests in other processes write to the same registry, and may overtake these two as well.
    assert written.tries >= 2
    assert others
    assert "theirs" not in seen[1]
    assert "theirs" in seen[-1]
    assert {"ours", "theirs"} <= set(load_registry(kafka)[client.name].codes)


def test_two_files_that_name_one_domain_cannot_both_be_applied_at_once(
    kafka: KafkaSettings,
) -> None:
    first = a_client()
    second = replace(a_client(), sending_domain=first.sending_domain)
    together = threading.Barrier(2)

    def writer(wanted: Client) -> bool:
        together.wait(PATIENCE_S)
        try:
            change(kafka, lambda registered: plan_changes([wanted], registered), PATIENCE_S)
        except ValueError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(writer, (first, second))) == [False, True]
    assert len({first.name, second.name} & set(load_registry(kafka))) == 1


def command(kafka: KafkaSettings, *arguments: str, stdin: str) -> subprocess.Popen[str]:
    """A `clients` command as a process that has already read the registry."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.clients.command", *arguments, "--kafka", kafka.bootstrap],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=base_environment(),
    )
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    process.stdin = None
    return process


def test_two_rotations_and_an_apply_at_once_are_all_kept(
    kafka: KafkaSettings, client: Client
) -> None:
    changed = replace(client, hard_limit=7)
    rotate = ("credentials", "rotate", client.name, "--password-stdin")
    running = [
        *(command(kafka, *rotate, stdin=password) for password in PASSWORDS),
        command(kafka, "apply", "-f", "-", stdin=clients_yaml(changed)),
    ]
    said = [process.communicate(timeout=PATIENCE_S) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    found = load_registry(kafka)[client.name]
    assert found.hard_limit == 7
    assert len(found.credentials) == 2
    assert {verify(password, found.credentials) for password in PASSWORDS} == {0, 1}
