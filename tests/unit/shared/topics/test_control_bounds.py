"""Orders whose times or targets would break messages later are no orders."""

from __future__ import annotations

import pytest

from shared.topics.codec import CodecError
from shared.topics.control import decode_order


@pytest.mark.parametrize("more", [b'"expires_at_ms":-1', b'"at_ms":1' + b"0" * 400, b'"at_ms":-1'])
def test_an_order_with_a_time_that_is_none_is_refused(more: bytes) -> None:
    with pytest.raises(CodecError):
        decode_order(b"client=a", b'{"verb":"suspend","scope":{"client":"a"},' + more + b"}")


@pytest.mark.parametrize("target", [b"nonsense", b"a:b:c", b"h:", b":25"])
def test_an_order_with_a_target_that_is_no_server_is_refused(target: bytes) -> None:
    text = b'{"verb":"reroute","scope":{"client":"a"},"target":"%b"}' % target
    with pytest.raises(CodecError):
        decode_order(b"client=a", text)
