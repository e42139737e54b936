"""What a file is, and whether it is whole: checks that decoders leave out.

Decoders fill what is missing with grey and at most log it. What is looked at here needs
no decoding: lengths, end marks and checksums where a format has them, and patterns that
its coder cannot write. Where a format has no redundancy (BMP, TIFF without compression)
a wrong value is a value like any other, and nobody can tell.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator

from vlp_zoo.pixels.rejects import unreadable
from vlp_zoo.types import FileName

__all__ = [
    "check_jpeg",
    "check_jpeg2000",
    "check_whole",
    "is_lossy",
    "kind_of",
    "suffix",
]

STARTS = {
    "JPEG": (b"\xff\xd8",),
    "PNG": (b"\x89PNG",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "JPEG2000": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "BMP": (b"BM",),
}

Fault = tuple[str, str]
"""Reason and detail."""


def suffix(path: FileName) -> str:
    """The end of a file's name from its last dot on, in small letters.

    Example:
        >>> suffix("images/0001.DCM")
        '.dcm'
    """
    return os.path.splitext(path)[1].lower()


def kind_of(path: FileName, content: bytes) -> str:
    """The name of a file's format, by its content; "DICOM" also by its suffix."""
    for kind, starts in STARTS.items():
        if content.startswith(starts) and content[128:132] != b"DICM":
            return kind
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[128:132] == b"DICM" or suffix(path) in (".dcm", ".dicom"):
        return "DICOM"
    return "other"


def check_whole(path: FileName, kind: str, content: bytes) -> None:
    """Refuse a file that is cut or damaged, by what its container says.

    Bytes after the end are forgiven: cameras, phones and block devices leave them.

    Raises:
        DataRejectedError: With the reason ``truncated``, ``damaged`` or ``frames``.
    """
    check = CHECKS.get(kind)
    try:
        fault = check(content) if check is not None else None
    except (struct.error, IndexError):
        fault = "truncated", f"{len(content)} bytes, less than a header"
    if fault is not None:
        raise unreadable(path, *fault)


def check_jpeg(content: bytes) -> Fault | None:
    """Whether the coded data of a JPEG has holes (runs of zeros that no coder writes).

    Its decoder reports what it stumbles over (`vlp_zoo.pixels.pictures`), but a run of
    zeros is a valid sequence of codes as well, of coefficients of -1 in most tables.
    Only where the code of zeros says "no difference, no coefficients" a plain area is
    written so.
    """
    start = content.find(b"\xff\xda")
    if start < 0 or content.find(b"\0" * HOLE, start) < 0:
        return None
    for zeros_allowed, begin, end in _scans(content):
        if not zeros_allowed and content.find(b"\0" * HOLE, begin, end) >= 0:
            return "damaged", f"a run of {HOLE} zeros or more in the coded data"
    return None


HOLE = 12
"""Bytes: 32 coefficients of -1 in a row, which no picture has."""

SCAN_END = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")


def _scans(content: bytes) -> Iterator[tuple[bool, int, int]]:
    """Scans of a JPEG: whether zeros are plain areas there, begin and end of its data."""
    # The first code of a table is all zeros (T.81, annex C): its symbol is kept.
    first: dict[int, int] = {}
    progressive = arithmetic = lossless = False
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xD9:
            return
        (length,) = struct.unpack_from(">H", content, at + 2)
        body = content[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xC4:
            while len(body) > 17:
                first[body[0]] = body[17]
                body = body[17 + sum(body[1:17]) :]
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC8, 0xCC):
            progressive = marker in (0xC2, 0xC6)
            arithmetic, lossless = marker > 0xC8, marker in (0xC3, 0xC7)
        elif marker == 0xDA:
            found = SCAN_END.search(content, at)
            end = len(content) if found is None else found.start()
            if not body or len(body) < 2 * body[0] + 4:
                return
            tables = body[2 : 2 + 2 * body[0] : 2]
            lowest, _, approximation = body[-3:]
            dc = [first.get(table >> 4) == 0 for table in tables]
            ac = [first.get(0x10 | table & 15, 1) for table in tables]
            if arithmetic:
                allowed = True
            elif lossless:
                allowed = all(dc)
            elif progressive and lowest:
                # Corrections of coefficients follow the same codes.
                allowed = all(symbol & 15 == 0 and symbol < 0xF0 for symbol in ac)
            elif progressive:
                # A refinement of the means is bare bits.
                allowed = all(dc) or approximation >> 4 > 0
            else:
                allowed = all(dc) and all(symbol == 0 for symbol in ac)
            yield allowed, at, end
            at = end


def _check_png(content: bytes) -> Fault | None:
    at = 8
    while at + 12 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if end > len(content):
            break
        (said,) = struct.unpack_from(">I", content, end - 4)
        if zlib.crc32(memoryview(content)[at + 4 : end - 4]) != said:
            return "damaged", f"the checksum of the chunk {name!r} is wrong"
        if name == b"acTL" and length == 8:
            (frames,) = struct.unpack_from(">I", content, at + 8)
            if frames > 1:
                return "frames", f"{frames} frames, not one image"
        if name == b"IEND":
            return None
        at = end
    return "truncated", f"{len(content)} bytes without the end"


def _check_gif(content: bytes) -> Fault | None:
    cut = "truncated", f"{len(content)} bytes without the end"
    if len(content) < 13:
        return cut
    table = 3 << (content[10] & 7) + 1 if content[10] & 0x80 else 0
    at = 13 + table
    images = 0
    while at < len(content):
        mark = content[at]
        if mark == 0x3B:
            return None if images else ("undecodable", "a GIF without an image")
        if mark == 0x21:
            at += 2
        elif mark == 0x2C and at + 10 < len(content):
            images += 1
            table = content[at + 9]
            at += 11 + (3 << (table & 7) + 1 if table & 0x80 else 0)
        else:
            return "damaged", f"a block {mark:#04x}, which GIF does not have"
        while at < len(content) and content[at]:
            at += 1 + content[at]
        at += 1
    return cut


def _check_webp(content: bytes) -> Fault | None:
    (size,) = struct.unpack_from("<I", content, 4)
    if size + 8 > len(content):
        return "truncated", f"{len(content)} of {size + 8} bytes"
    for name, begin, end in _webp_chunks(content):
        if end > size + 8:
            return "damaged", f"a chunk {name!r} that leaves the file"
        if name not in (b"VP8 ", b"VP8L"):
            continue
        if content.find(b"\xff" * 32, begin, end) >= 0:
            return "damaged", "a run of FF in the coded data"
        # Without loss plain areas may well be coded as zeros, kilobytes of them: only
        # at the end they are what a copy was filled up with.
        first = end - 64 if name == b"VP8L" else begin
        zeros = content.find(bytes(64), first, end) >= 0
        coded = len(content[begin:end].rstrip(b"\0"))
        if zeros and coded > PLAIN * _webp_pixels(name, content[begin : begin + 10]):
            return "damaged", "a run of 64 zeros or more in the coded data"
    return None


PLAIN = 0.01
"""Bytes a pixel: pictures that are plain all over need fewer, and may be zeros."""


def _webp_pixels(name: bytes, head: bytes) -> int:
    """Width times height (RFC 9649, and RFC 6386, 9.1)."""
    if name == b"VP8L":
        (bits,) = struct.unpack("<I", head[1:5])
        return int(((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1))
    width, height = struct.unpack("<HH", head[6:10])
    return int((width & 0x3FFF) * (height & 0x3FFF))


def _webp_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    (size,) = struct.unpack_from("<I", content, 4)
    at = 12
    while at + 8 <= min(size + 8, len(content)):
        name, length = struct.unpack_from("<4sI", content, at)
        yield name, at + 8, at + 8 + length
        at += 8 + length + length % 2


def check_jpeg2000(content: bytes) -> Fault | None:
    """Whether a JPEG 2000 file or codestream has all its tile-parts and no holes.

    Coded data never holds FF90 to FFFF but for two markers (T.800, B.10.1 and C.5.3),
    and a packet without content is one zero byte: more zeros in a row than a tile has
    packets are a hole.
    """
    cut = "truncated", f"{len(content)} bytes without the end"
    at = _codestream(content)
    if at is None:
        return cut
    at += 2
    empty: int | None = 0
    components = 1
    while at + 2 <= len(content):
        if content[at : at + 2] == b"\xff\xd9":
            return None
        if at + 4 > len(content):
            break
        marker, length = struct.unpack_from(">HH", content, at)
        if marker == 0xFF51 and at + 40 <= len(content):
            (components,) = struct.unpack_from(">H", content, at + 38)
        elif marker == 0xFF52 and at + 10 <= len(content):
            precincts = content[at + 4] & 1
            (layers,) = struct.unpack_from(">H", content, at + 6)
            empty = None if precincts else layers * (content[at + 9] + 1) * components
        elif marker == 0xFF90 and at + 12 <= len(content):
            (part,) = struct.unpack_from(">I", content, at + 6)
            end = at + part if part else len(content) - 2
            begin = content.find(b"\xff\x93", at, end)
            if end + 2 > len(content):
                return cut
            if (part < 14 and part) or begin < 0:
                return "damaged", "a tile-part without data"
            data = content[begin + 2 : end]
            if FORBIDDEN.search(data):
                return "damaged", "marker codes inside the coded data"
            if empty is not None and bytes(empty + 8) in data:
                return "damaged", f"a run of {empty + 8} zeros or more"
            at = end
            continue
        elif not 0xFF4F <= marker <= 0xFF7F:
            return "damaged", f"{marker:#06x} where a marker should be"
        at += 2 + length
    return cut


FORBIDDEN = re.compile(rb"\xff[\x90\x93-\xff]")


def _codestream(content: bytes) -> int | None:
    if content.startswith(b"\xff\x4f"):
        return 0
    at = 0
    while at + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        head = 8
        if length == 1 and at + 16 <= len(content):
            (length,) = struct.unpack_from(">Q", content, at + 8)
            head = 16
        if name == b"jp2c":
            return at + head
        if length < head:
            return None
        at += length
    return None


def is_lossy(kind: str, content: bytes) -> bool:
    """Whether a format changes the values it is given (TIFF is asked elsewhere)."""
    if kind == "WEBP":
        return any(name == b"VP8 " for name, _, _ in _webp_chunks(content))
    if kind == "JPEG2000":
        at = content.find(b"\xff\x52")
        return at < 0 or content[at + 13 : at + 14] != b"\x01"
    return kind == "JPEG"


CHECKS: dict[str, Callable[[bytes], Fault | None]] = {
    "JPEG": check_jpeg,
    "PNG": _check_png,
    "GIF": _check_gif,
    "WEBP": _check_webp,
    "JPEG2000": check_jpeg2000,
}
