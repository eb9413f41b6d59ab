"""Header lines, and the positions in them at which a test can insert text."""

from __future__ import annotations

from hypothesis import strategies as st

SLOTS = {
    "From": "from_count",
    "To": "to_count",
    "Cc": "cc_count",
    "Bcc": "bcc_count",
    "Subject": "subject_count",
    "Message-ID": "message_id_count",
    "Reply-To": "reply_to_count",
    "Return-Path": "return_path_count",
    "X-bm-mailing": "code_count",
    "Date": "date_count",
}


LINES = st.lists(
    st.one_of(
        st.sampled_from([name.encode() for name in SLOTS]).flatmap(
            lambda name: st.binary(max_size=20).map(lambda value: name + b": " + value + b"\r\n")
        ),
        st.sampled_from([b" x\r\n", b"\r\n", b"\n", b"\r", b"X: y\r\n", b"\0", b" : ", b"To\t:\n"]),
    ),
    max_size=12,
).map(b"".join)
