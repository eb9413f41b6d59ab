"""Draws the pictures of the message set: small real PNG and JPEG files, always the same bytes."""

from __future__ import annotations

import struct
import zlib
from typing import Final

# The standard luminance DC codes (ITU T.81, table K.3): categories 0 to 11.
_DC_LENGTHS: Final = (0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0)
_QUANTISER: Final = 8


def png(width: int, height: int, pixels: bytes) -> bytes:
    """A grey-scale PNG; stored, not compressed, so that every zlib writes the same bytes."""
    rows = b"".join(b"\0" + pixels[y * width : (y + 1) * width] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 0))
    return b"\x89PNG\r\n\x1a\n" + chunks + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    checked = kind + data
    return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))


def gradient_png(side: int) -> bytes:
    """A square from black to white."""
    return png(
        side, side, bytes((x + y) * 255 // (2 * side) for y in range(side) for x in range(side))
    )


def jpeg(blocks_wide: int, blocks_high: int) -> bytes:
    """A baseline grey-scale JPEG of 8 x 8 blocks, each of one grey: a DC coefficient and no AC."""
    width, height = 8 * blocks_wide, 8 * blocks_high
    count = blocks_wide * blocks_high
    greys = [255 * number // count for number in range(count)]
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xE0, b"JFIF\0\x01\x01\x01\x00\x48\x00\x48\0\0"),
            _segment(0xDB, b"\0" + bytes([_QUANTISER]) * 64),
            _segment(0xC0, struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\0"),
            _segment(0xC4, b"\0" + bytes(_DC_LENGTHS) + bytes(range(12))),
            _segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0"),
            _segment(0xDA, b"\x01\x01\0\0\x3f\0"),
            _scan(greys),
            b"\xff\xd9",
        )
    )


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _scan(greys: list[int]) -> bytes:
    codes = _dc_codes()
    bits: list[str] = []
    before = 0
    for grey in greys:
        level = (grey - 128) * 8 // _QUANTISER
        difference, before = level - before, level
        category = abs(difference).bit_length()
        value = difference if difference > 0 else difference + (1 << category) - 1
        bits.append(codes[category] + (f"{value:0{category}b}" if category else "") + "0")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    octets = int(text, 2).to_bytes(len(text) // 8, "big")
    return octets.replace(b"\xff", b"\xff\0")


def _dc_codes() -> list[str]:
    codes: list[str] = []
    code = 0
    for length, count in enumerate(_DC_LENGTHS, 1):
        for _ in range(count):
            codes.append(f"{code:0{length}b}")
            code += 1
        code <<= 1
    return codes
