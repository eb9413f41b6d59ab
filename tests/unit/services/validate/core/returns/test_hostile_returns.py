"""Windows and returned messages whose sizes are not what they should be."""

from __future__ import annotations

import pytest

from services.validate.core.returns.notices import Notice, compose
from services.validate.core.returns.windows import decode_window

RECORD_BYTES = 2 * 1024 * 1024


def test_a_window_that_is_nested_too_deeply_is_no_window() -> None:
    deep = b'{"client":"a","partition":0,"begun_ms":1,"x":' + b"[" * 5000 + b"]" * 5000 + b"}"
    with pytest.raises(ValueError, match="recursion"):
        decode_window(b"returns/0/a", deep)


def test_a_message_of_bare_line_ends_still_fits_into_its_record() -> None:
    original = b"Subject: \xff\n\n" + b"\n" * (1 << 20)
    notice = Notice("a.example", "r@b.example", "<h@a>", "h", "s", (), (), 0, original)
    assert len(compose(notice)) < RECORD_BYTES - 65_536
