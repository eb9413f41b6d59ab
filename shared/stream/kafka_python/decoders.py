"""Lets two threads decode a type of response for the first time at the same moment.

Written for kafka-python 3.0.12. The library generates the decoder of each response type when the
first response of this type arrives. While it generates the decoder, it replaces the class of the
response in an object that all clients of the process share. If two I/O threads do this at the same
time, one of them can generate a decoder that raises TypeError, and the library keeps this decoder
until the process ends. After an outage of the brokers, all consumers of a process validate their
positions at the same time, many of them for the first time. With a wrong decoder, no consumer can
read its partitions again.

Here, only one thread at a time generates a decoder. This module can be removed when
tests/unit/shared/stream/kafka_python/test_decoders.py passes without it.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from kafka.protocol.schemas.fields.struct import StructField

_generate: Final = StructField.compiled_decode_from
_generating: Final = threading.Lock()


def _decoder(
    field: Any, version: int, compact: Any = False, tagged: Any = False, data_class: Any = None
) -> Any:
    known = field._compiled_encoders.get(("decode", version, compact, tagged, data_class))
    if known is not None:
        return known
    with _generating:
        return _generate(field, version, compact, tagged, data_class)


def generate_one_at_a_time() -> None:
    """Replace the library's generation of decoders. May be called repeatedly."""
    StructField.compiled_decode_from = _decoder
