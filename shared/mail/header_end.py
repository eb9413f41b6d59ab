"""Finds where the header of a message ends. Pure.

Most of a message is its body: a regular expression that looks for a field in all of it takes 0.2 ms
for 10 KB, which is as much as everything else that is done with the message.
"""

from __future__ import annotations


def header_end(content: bytes) -> int:
    """The position behind the last field, its line end included; 0 if there is no header.

    The header ends before the first empty line, which may end with LF only, or with the message.
    """
    if content.startswith((b"\n", b"\r\n")):
        return 0
    found = content.find(b"\n\r\n")
    other = content.find(b"\n\n", 0, found + 1 if found >= 0 else len(content))
    first = other if other >= 0 else found
    return first + 1 if first >= 0 else len(content)
