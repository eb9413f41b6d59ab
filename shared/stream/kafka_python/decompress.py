"""Decompresses the records of a Kafka batch, within a limit.

This module owns the five codecs of the record format (KIP-98, KIP-110) and their framing. It does
no I/O. decompress() allocates at most `limit` bytes of output, even if the input announces more,
and raises only DecompressError. In contrast, kafka-python 3.0.12 decompresses without a limit: 12
KB of gzip become 12 MB, 400 KB become 400 MB. The library also needs further packages for snappy
and zstd.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

import cramjam
import lz4.frame
import zstandard

# The magic of a block stream, from org.xerial.snappy.SnappyCodec. Two version numbers of four bytes
# each follow the magic. The version numbers are not read, because some producers write them in the
# wrong byte order.
_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16
_GZIP_WINDOW_BITS: Final = 31  # The largest window, with a gzip header.
# The default limit of zstd. A frame that requires a larger window is refused.
_ZSTD_MAX_WINDOW: Final = 1 << 27

# An lz4 frame begins with the magic number, the byte FLG and the byte BD. If bit 3 of FLG is set, a
# content size follows.
_LZ4_MAGIC: Final = b"\x04\x22\x4d\x18"
_LZ4_HAS_SIZE: Final = 0x08
# The size of the first step for a frame without a content size; Java clients write such frames.
_LZ4_STEP_BYTES: Final = 65_536
_LZ4_RATIO: Final = 4

# Producers write one gzip member or lz4 frame, and snappy blocks of about 32 KiB. These limits
# bound the decompression time, because each further member copies the rest of the data.
_MAX_MEMBERS: Final = 16
_MAX_BLOCKS: Final = 65_536

GZIP: Final = 1
SNAPPY: Final = 2
LZ4: Final = 3
ZSTD: Final = 4


class DecompressError(ValueError):
    """The bytes could not be decompressed. The text contains the reason."""


def _too_large(limit: int) -> DecompressError:
    return DecompressError(f"it is larger than {limit} bytes once decompressed")


def decompress(codec: int, data: bytes, limit: int) -> bytes:
    """Return the decompressed bytes, at most `limit`. Raises DecompressError."""
    found = _CODECS.get(codec)
    if found is None:
        raise DecompressError(f"compression type {codec} is not known")
    name, read = found
    try:
        return read(data, limit)
    except (
        zlib.error,
        cramjam.DecompressionError,
        zstandard.ZstdError,
        RuntimeError,  # raised by lz4
        EOFError,
        struct.error,
    ) as error:
        raise DecompressError(f"it is not {name}: {str(error)[:200]}") from None


def _members(make: Callable[[], Any], data: bytes, limit: int, padding: bytes) -> bytes:
    """Decompress concatenated streams."""
    parts: list[bytes] = []
    left = limit
    while data or not parts:
        if len(parts) >= _MAX_MEMBERS:
            raise EOFError(f"it has more than {_MAX_MEMBERS} parts")
        stream = make()
        # Ask for one byte more than allowed, to detect that the data are too long.
        part = stream.decompress(data, left + 1)
        left -= len(part)
        if left < 0:
            raise _too_large(limit)
        if not stream.eof:
            raise EOFError("it is cut short")
        parts.append(part)
        data = (stream.unused_data or b"").lstrip(padding)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _gzip(data: bytes, limit: int) -> bytes:
    # GNU gzip may append zeros; skip them, as gzip.GzipFile does.
    return _members(lambda: zlib.decompressobj(_GZIP_WINDOW_BITS), data, limit, b"\0")


class _Lz4Stream:
    """Reads one frame in steps, because the library allocates all memory that a step may need."""

    def __init__(self) -> None:
        self._frame: Any = lz4.frame.LZ4FrameDecompressor()

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof)

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data or b""

    def decompress(self, data: bytes, most: int) -> bytes:
        """Return at most `most` bytes."""
        step = _lz4_content_bytes(data) or max(_LZ4_STEP_BYTES, _LZ4_RATIO * len(data))
        # Ask for one byte more than announced, so that the library also reads the end of the frame.
        parts: list[bytes] = [self._frame.decompress(data, min(most, step + 1))]
        left = most - len(parts[0])
        while left and not (self._frame.eof or self._frame.needs_input):
            step *= 2
            parts.append(self._frame.decompress(b"", min(left, step)))
            left -= len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _lz4_content_bytes(data: bytes) -> int:
    """Return the content size that the frame announces. Return 0 if it announces no size."""
    has_size = data[:4] == _LZ4_MAGIC and len(data) > 4 and data[4] & _LZ4_HAS_SIZE
    return int.from_bytes(data[6:14], "little") if has_size else 0


def _lz4(data: bytes, limit: int) -> bytes:
    return _members(_Lz4Stream, data, limit, b"")


def _zstd(data: bytes, limit: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW)
    with decompressor.stream_reader(io.BytesIO(data), read_across_frames=True) as reader:
        parts: list[bytes] = []
        left = limit
        while part := reader.read(min(left + 1, zstandard.DECOMPRESSION_RECOMMENDED_OUTPUT_SIZE)):
            left -= len(part)
            if left < 0:
                raise _too_large(limit)
            parts.append(part)
    return b"".join(parts)


def _snappy(data: bytes, limit: int) -> bytes:
    if not data.startswith(_XERIAL_MAGIC):
        return _snappy_block(data, limit, limit)
    blocks: list[bytes] = []
    left, at = limit, _XERIAL_HEADER_BYTES
    while at < len(data):
        if data.startswith(_XERIAL_MAGIC, at):
            at += _XERIAL_HEADER_BYTES  # streams may be concatenated
            continue
        (size,) = struct.unpack_from(">i", data, at)
        at += 4
        if not 0 <= size <= len(data) - at:
            raise EOFError("it is cut short")
        if len(blocks) >= _MAX_BLOCKS:
            raise EOFError(f"it has more than {_MAX_BLOCKS} blocks")
        block = _snappy_block(data[at : at + size], left, limit)
        blocks.append(block)
        left -= len(block)
        at += size
    return b"".join(blocks)


def _snappy_block(block: bytes, left: int, limit: int) -> bytes:
    """Decompress one block, after checking the content length in its first bytes."""
    if cramjam.snappy.decompress_raw_len(block) > left:
        raise _too_large(limit)
    return bytes(cramjam.snappy.decompress_raw(block))


_CODECS: Final[dict[int, tuple[str, Callable[[bytes, int], bytes]]]] = {
    GZIP: ("gzip", _gzip),
    SNAPPY: ("snappy", _snappy),
    LZ4: ("lz4", _lz4),
    ZSTD: ("zstd", _zstd),
}
