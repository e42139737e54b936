"""Bytes and characters of files that others wrote.

Only regular files are opened: a device or a pipe may never end. What is compressed is
known by its first bytes, not by its name, and is unpacked within bounds.
"""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import lzma
import os
import re
import stat
import zipfile
import zlib
from pathlib import Path
from typing import IO, cast

from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.types import FileName

__all__ = ["as_utf8", "listing", "read_bytes", "read_text", "unpacked"]

logger = logging.getLogger(__name__)

GROWTH = 100
"""Text is seldom packed tighter: sparse label tables come to 50."""

ALWAYS = 256 * 2**20
"""Bytes that a packed file may come to, however small it is."""

PIECE = 2**20

DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What the decompressors raise for files that are cut or changed."""


def listing(folder: Path, limit: int = 8) -> str:
    """What lies in a folder, for messages."""
    try:
        if not folder.is_dir():
            return f"no folder {folder}"
        names = sorted(path.name for path in folder.iterdir())
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    more = ", ..." if len(names) > limit else ""
    return ", ".join(names[:limit]) + more if names else "an empty folder"


def read_bytes(path: FileName, what: str = "the file") -> bytes:
    """The content of a regular file.

    Args:
        path: The file.
        what: For the message: ``"the table"``.

    Raises:
        DatasetNotFoundError: If there is none, or a folder, a device or a pipe.
        ConfigError: If it cannot be read.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        # A name with a NUL byte in it is a ValueError.
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        found = "no such file" if missing else f"{type(error).__name__}: {error}"
        folder = Path(path).parent
        if missing and folder.is_dir():
            found = f"no such file; there: {listing(folder)}"
        raise DatasetNotFoundError(
            f"{what} {path}",
            found,
            "give the folder that holds the official files, or download it again",
        ) from error
    if not stat.S_ISREG(mode):
        raise DatasetNotFoundError(
            f"{what} {path}",
            "a folder"
            if stat.S_ISDIR(mode)
            else "a device or a pipe, which may never end",
            "give a regular file",
        )
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(
            f"{what} {path}", f"{type(error).__name__}: {error}", "restore the file"
        ) from error


def unpacked(content: bytes, path: FileName) -> bytes:
    """Content that may be packed with gzip, zip, xz or bzip2, unpacked.

    Args:
        content: Bytes of the file.
        path: Its name, for messages.

    Raises:
        ConfigError: If it is cut, damaged, locked, or grows beyond bounds; or a zip
            archive of several files.
    """
    try:
        with _opened(content, path) as stream:
            limit = max(ALWAYS, GROWTH * len(content))
            pieces, size = [], 0
            while piece := stream.read(PIECE):
                pieces.append(piece)
                size += len(piece)
                if size > limit:
                    raise ConfigError(
                        f"a packed file that unpacks to at most {limit} bytes in {path}",
                        "more",
                        "unpack it by hand if it is what it should be",
                    )
    # NotImplementedError and RuntimeError: unknown packing, and archives that are locked.
    except (*DAMAGE, NotImplementedError, RuntimeError) as error:
        raise ConfigError(
            f"a whole packed file in {path}",
            f"{type(error).__name__}: {error}",
            "download the file again: it is cut or damaged",
        ) from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _opened(content: bytes, path: FileName) -> IO[bytes]:
    raw = io.BytesIO(content)
    if content.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if content.startswith(b"\xfd7zXZ\x00"):
        return cast(IO[bytes], lzma.LZMAFile(raw))
    if re.match(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", content):
        return cast(IO[bytes], bz2.BZ2File(raw))
    if content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        archive = zipfile.ZipFile(raw)
        files = [
            info
            for info in archive.infolist()
            if not info.is_dir() and not info.filename.startswith("__MACOSX/")
        ]
        if len(files) != 1:
            names = ", ".join(info.filename for info in files[:5]) or "none"
            raise ConfigError(
                f"one file in the archive {path}",
                f"{len(files)}: {names}",
                "unpack it, and name the file that is meant",
            )
        return archive.open(files[0])
    return raw


def read_text(path: FileName, what: str = "the file") -> str:
    """The text of a file, in UTF-8, UTF-16 with its mark, or Windows-1252.

    Args:
        path: The file; it may be packed.
        what: For the message.

    Raises:
        DatasetNotFoundError: If it is not there, or no regular file.
        ConfigError: If it is no text that can be read for certain.
    """
    return as_utf8(unpacked(read_bytes(path, what), path), path).decode("utf-8")


def as_utf8(content: bytes, path: FileName) -> bytes:
    """Text in any of the encodings that are told apart for certain, as UTF-8.

    Windows-1252 has a letter for nearly every byte, so that any file could pass for it:
    it is only taken where nothing speaks for a damaged UTF-8 file or for another
    script, and a warning says so.

    Args:
        content: Unpacked.
        path: For messages.

    Raises:
        ConfigError: If it is none of these, or holds NUL bytes.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            content = content.decode("utf-16").encode("utf-8")
        except UnicodeError as error:
            raise _no_text(path, f"a mark of UTF-16, and then {error}") from error
    content = content.removeprefix(b"\xef\xbb\xbf")
    nul = content.find(b"\0")
    if nul >= 0:
        raise _no_text(
            path,
            f"a NUL byte in line {_line(content, nul)}, as in UTF-16 without its mark, "
            "or in files that are no text",
        )
    if content.isascii():
        return content
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return _western(content, path, error).encode("utf-8")
    return content


def _western(content: bytes, path: FileName, error: UnicodeDecodeError) -> str:
    place = f"byte 0x{content[error.start]:02x} in line {_line(content, error.start)}"
    kept = content.decode("utf-8", "ignore")
    if not kept.isascii():
        raise _no_text(path, f"UTF-8 with a damaged or cut character: {place}")
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError as other:
        raise _no_text(
            path, f"{place}: neither UTF-8 nor Windows-1252 ({other})"
        ) from error
    # Words of Western languages have no such runs; those of other scripts do.
    if run := re.search(rb"[\x80-\xff]{3}", content):
        line = _line(content, run.start())
        raise _no_text(path, f"no UTF-8, and in line {line} another script: {place}")
    logger.warning("%s: no UTF-8 (%s); read as Windows-1252", path, place)
    return text


def _line(content: bytes, position: int) -> int:
    return content.count(b"\n", 0, position) + 1


def _no_text(path: FileName, found: str) -> ConfigError:
    return ConfigError(
        f"text in UTF-8 in {path}", found, "write the file again as UTF-8"
    )
