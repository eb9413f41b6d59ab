"""Reads the messages for `sluice check`: files, folders, mboxes, standard input.

Owns: finding the messages and reading them one after the other. Does not own: judging the messages.
A file whose name ends in .eml is one message. Any other file is an mbox if its name ends in .mbox
or its content begins with "From " (RFC 4155). In an mbox, a new message begins after each line that
begins with "From " and follows an empty line. Quoted lines (">From ") stay as they are. Guarantees:
memory holds one message at a time, of at most MAX_MESSAGE_BYTES; a path that cannot be read raises
FileFault, whose text is one line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final, NoReturn

from msgspec import Struct

# This size is larger than any limit of R1. It bounds the use of memory.
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
STANDARD_INPUT: Final = "-"
_PIECE_BYTES: Final = 1024 * 1024  # Long lines are read in pieces of this size.
_SUFFIX: Final = ".eml"
_MBOX_SUFFIX: Final = ".mbox"
_MARK: Final = b"From "
_NO_MBOX: Final = 'not an mbox: the file does not begin with a line "From ..."'
_BLANK: Final = (b"\n", b"\r\n")


class FileFault(Exception):
    """A file cannot be checked; the text is one line."""


class Message(Struct, frozen=True):
    """One message; `first_line` is the number of the message's first line in the file, from 1."""

    name: str
    content: bytes
    first_line: int = 1


def find_files(paths: Sequence[str]) -> list[str]:
    """Return the files of these paths, with each folder replaced by its .eml files.

    Raises FileFault.
    """
    found: list[str] = []
    for path in paths:
        if path == STANDARD_INPUT:
            found.append(path)
        elif Path(path).is_dir():
            found += _in_folder(path)
        elif os.access(path, os.R_OK):
            found.append(path)
        else:
            _open(path).close()
    return found


def read_messages(path: str) -> Iterator[Message]:
    """Yield the messages of one file, or of standard input. Raises FileFault."""
    name = shown(path)
    with _open(path) as file:
        try:
            yield from _messages(name, file)
        except OSError as error:
            raise FileFault(f"{name}: {error.strerror}") from None


def split_mbox(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield each message of an mbox with the number of its first line.

    The pieces are the lines of the file; a long line is split into several pieces. Raises
    OverflowError for a message above MAX_MESSAGE_BYTES.
    """
    one: _Gathering | None = None
    number, at_start, after_blank, in_mark = 0, True, True, False
    for piece in pieces:
        number += at_start
        if at_start:
            in_mark = after_blank and piece.startswith(_MARK)
        if in_mark and at_start:
            if one is not None:
                yield one.first_line, one.content()
            one = _Gathering(number + 1)
        elif one is not None and not in_mark:
            one.add(piece, at_start)
        after_blank = at_start and piece in _BLANK
        at_start = piece.endswith(b"\n")
    if one is not None:
        yield one.first_line, one.content()


def shown(path: str) -> str:
    """Return a path as text that can be encoded as UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class _Gathering:
    """The part of an mbox message that was read so far."""

    def __init__(self, first_line: int) -> None:
        self.first_line = first_line
        self._pieces: list[bytes] = []
        self._size_bytes = 0
        self._blanks = 0
        self._ends_blank = False

    def add(self, piece: bytes, at_start: bool) -> None:
        self._size_bytes += len(piece)
        if self._size_bytes > MAX_MESSAGE_BYTES:
            raise OverflowError
        self._ends_blank = at_start and piece in _BLANK
        self._blanks += self._ends_blank
        self._pieces.append(piece)

    def content(self) -> bytes:
        # The last empty line belongs to the mbox format and not to the message. But if it is the
        # only empty line, it ends the header.
        if self._ends_blank and self._blanks > 1:
            self._pieces.pop()
        return b"".join(self._pieces)


def _messages(name: str, file: IO[bytes]) -> Iterator[Message]:
    one_message = name.lower().endswith(_SUFFIX)
    begin = b"" if one_message else file.readline(_PIECE_BYTES)
    if begin.startswith(_MARK) or name.lower().endswith(_MBOX_SUFFIX):
        yield from _of_mbox(name, begin, file)
        return
    content = begin + file.read(MAX_MESSAGE_BYTES + 1 - len(begin))
    if len(content) > MAX_MESSAGE_BYTES:
        _too_large(name)
    yield Message(name, content)


def _of_mbox(name: str, begin: bytes, file: IO[bytes]) -> Iterator[Message]:
    index = 0
    try:
        # Text before the first message is an error, because otherwise nobody would notice this
        # text.
        if begin and begin not in _BLANK and not begin.startswith(_MARK):
            raise FileFault(f"{name}: {_NO_MBOX}")
        for index, (first_line, content) in enumerate(split_mbox(_pieces(begin, file)), 1):
            yield Message(f"{name}#{index}", content, first_line)
    except OverflowError:
        _too_large(f"{name}#{index + 1}")
    if not index:
        raise FileFault(f"{name}: {_NO_MBOX}")


def _pieces(begin: bytes, file: IO[bytes]) -> Iterator[bytes]:
    piece = begin
    while piece:
        yield piece
        piece = file.readline(_PIECE_BYTES)


def _in_folder(path: str) -> list[str]:
    try:
        found = sorted(
            str(file)
            for folder, _, names in os.walk(path, onerror=_refuse)
            for file in (Path(folder, name) for name in names)
            if file.suffix.lower() == _SUFFIX and file.is_file()
        )
    except OSError as error:
        raise FileFault(f"{shown(str(error.filename or path))}: {error.strerror}") from None
    if not found:
        raise FileFault(f"{shown(path)}: this folder has no {_SUFFIX} file")
    return found


def _refuse(error: OSError) -> NoReturn:
    raise error


def _open(path: str) -> IO[bytes]:
    if path == STANDARD_INPUT:
        return sys.stdin.buffer
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise FileFault(f"{shown(path)}: {error.strerror}") from None
    except ValueError:  # The path contains a NUL.
        raise FileFault(f"{shown(path)!r}: not a path") from None


def _too_large(name: str) -> NoReturn:
    limit = MAX_MESSAGE_BYTES // (1024 * 1024)
    raise FileFault(f"{name}: larger than {limit} MB, so it is not read as a message")
