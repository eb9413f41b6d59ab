"""One broker and the files for all tests of TLS, SASL and ACLs; they run in one process."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from local.process import Process
from tests.support import secured_kafka
from tests.support.authority import Authority
from tests.support.secured_kafka import PASSWORD
from tests.support.secured_place import Files, Place, add_users
from tests.support.token_endpoint import serving


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration/security/" in item.nodeid:
            item.add_marker(pytest.mark.xdist_group("secured"))


@pytest.fixture(scope="package")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("secured")
    secured = secured_kafka.plan(folder)
    other = Authority(folder / "other")
    secured.authority.issue("client")
    secured.authority.issue("stale", days=-1)
    other.issue("stranger")
    for name, text in (("password", PASSWORD), ("wrong", "wrong")):
        (folder / name).write_text(f"{text}\n")
    files = Files(
        ca=str(secured.authority.ca),
        other_ca=str(other.ca),
        password=str(folder / "password"),
        wrong_password=str(folder / "wrong"),
    )
    spec = secured_kafka.spec_of(secured)
    process = Process(spec, folder / "kafka.log")
    try:
        ends_at = time.monotonic() + spec.ready_timeout_s
        while not spec.is_ready():
            assert process.runs, process.log_tail()
            assert time.monotonic() < ends_at, process.log_tail()
            time.sleep(0.2)
        add_users(secured, {"scram-256": "SCRAM-SHA-256", "scram-512": "SCRAM-SHA-512"})
        with serving(secured.token_key, PASSWORD) as tokens:
            yield Place(secured, files, other, tokens, folder)
    finally:
        process.end(spec.stop_timeout_s)
