"""The selector behaves like the standard library's."""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable
from typing import Any

import pytest

from shared.stream.kafka_python.quiet_selector import QuietSelector


class File:
    """A file object without a description."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def fileno(self) -> int:
        return self.descriptor

    def __repr__(self) -> str:
        raise AssertionError("described")


def registered(selector: selectors.BaseSelector, file: Any) -> Any:
    selector.register(file, selectors.EVENT_READ, "data")
    return selector


def test_a_known_file_is_found_by_object_and_by_descriptor() -> None:
    reading, writing = os.pipe()
    try:
        with QuietSelector() as selector:
            file = File(reading)
            key = registered(selector, file).get_key(file)
            assert (key.data, selector.get_key(reading)) == ("data", key)
            file.descriptor = -1  # closed in the meantime
            assert selector.get_key(file) == key
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    ("make", "error"),
    [(lambda: File(12_345), KeyError), (lambda: 12_345, KeyError), (lambda: File(-1), ValueError)],
)
def test_an_unknown_one_is_refused_without_being_described(
    make: Callable[[], Any], error: type[Exception]
) -> None:
    with QuietSelector() as selector, pytest.raises(error):
        selector.get_key(make())


def test_a_closed_selector_says_so() -> None:
    selector = QuietSelector()
    selector.close()
    with pytest.raises(RuntimeError):
        selector.get_key(0)
