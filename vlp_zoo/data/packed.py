"""The columns of a source as one block of bytes that all processes share.

Python objects are not shared for long: whoever looks at one writes its reference count,
and with it a page of its own. 370,000 studies as objects are hundreds of megabytes that
every loader process copies bit by bit, and every rank reads tables and asks for files to
make them. Here they are cells of an Arrow file instead. One process writes it, under the
SHA-256 of its content; others that are told name and digest map it and hold nothing.

The file holds what the tables say, texts of reports included: its folder is for its
owner alone. It is a cache; what nobody has opened for a month is removed.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vlp_zoo.data.records import MaskRef
from vlp_zoo.data.studies import COLUMNS, FileStudies
from vlp_zoo.errors import FileWriteError, StoreError
from vlp_zoo.files import cache_folder, write_whole
from vlp_zoo.types import Box, Report

__all__ = ["Address", "Column", "Packed", "PackedPath", "open_packed", "pack"]

logger = logging.getLogger(__name__)

Cell = TypeVar("Cell")

UNUSED = 30 * 24 * 3600
"""Seconds after which a file that nobody has opened is removed."""

# Cells as bytes ----------------------------------------------------------------------


class PackedPath(os.PathLike[str]):
    """A path as the one string that it is.

    A `Path` takes its name apart and gives each part to Python's table of interned
    strings, which grows by it and stays: in a loader process that meets each image of
    an epoch, by tens of megabytes.

    Args:
        name: The path, in the words of `str(path)`.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __fspath__(self) -> str:
        return self._name

    __str__ = __fspath__

    def __repr__(self) -> str:
        return f"PackedPath({self._name!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, os.PathLike):
            return NotImplemented
        return bool(self._name == os.fspath(other))

    def __hash__(self) -> int:
        return hash(Path(self._name))  # what it equals


_RECORDS: dict[str, type] = {kind.__name__: kind for kind in (Box, MaskRef, Report)}
_MAKERS: dict[str, Callable[..., Any]] = {
    **_RECORDS,
    "path": PackedPath,
    "tuple": lambda *values: values,
    "list": lambda *values: list(values),
    "dict": lambda *pairs: dict(pairs),
}


def _plain(value: Any) -> Any:
    """A cell in the words of JSON; a list there is a maker and what it is given."""
    kind = type(value)
    if value is None or kind in (str, int, float, bool):
        return value
    if isinstance(value, os.PathLike):
        return ["path", str(value)]
    if kind in (tuple, list):
        return [kind.__name__, *map(_plain, value)]
    if kind is dict:
        return ["dict", *(_plain(pair) for pair in value.items())]
    if kind.__name__ in _RECORDS and kind is _RECORDS[kind.__name__]:
        return [kind.__name__, *(_plain(getattr(value, f.name)) for f in fields(kind))]
    raise TypeError(f"{kind.__module__}.{kind.__qualname__}")


def _made(value: Any) -> Any:
    """The cell that `_plain` had."""
    return _MAKERS[value[0]](*map(_made, value[1:])) if type(value) is list else value


def _word(text: str) -> bytes:
    # Names of files need not be valid Unicode.
    return text.encode("utf-8", "surrogatepass")


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogatepass")


class _Kind(NamedTuple):
    """How the cells of a column are written and read."""

    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


_TEXT = _Kind(_word, _text)
_PATH = _Kind(lambda path: _word(str(path)), lambda content: PackedPath(_text(content)))
_encode = json.JSONEncoder(check_circular=False).encode
_JSON = _Kind(
    lambda value: _encode(_plain(value)).encode(),
    lambda content: _made(json.loads(content)),
)
_KINDS = {
    **dict.fromkeys(("uids", "patient_ids", "study_ids"), _TEXT),
    "images": _PATH,
    "digests": _Kind(bytes, bytes),
}


class Column(Sequence[Cell]):
    """One column of a packed source: looks like a list, makes a cell when it is asked.

    Args:
        packed: Where it is.
        name: Its name.
    """

    def __init__(self, packed: Packed, name: str) -> None:
        self._packed = packed
        self._name = name
        self._cells = packed.batch.column(name)
        self._read = _KINDS.get(name, _JSON).read

    def __len__(self) -> int:
        return len(self._cells)

    @overload
    def __getitem__(self, index: int) -> Cell: ...

    @overload
    def __getitem__(self, index: slice) -> list[Cell]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._read(self._cells[index].as_py())

    def __iter__(self) -> Iterator[Cell]:
        return map(self._read, self._cells.to_pylist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return Column, (self._packed, self._name)


# The file ----------------------------------------------------------------------------


class Address(NamedTuple):
    """Where a packed source is, and what it must hold: enough for another process."""

    path: Path
    sha256: str


class Packed:
    """A source as Arrow bytes.

    Args:
        content: What `pack` writes.
        address: Where it is mapped from; None is memory of this process.
    """

    def __init__(self, content: pa.Buffer, address: Address | None) -> None:
        self.content = content
        self.address = address
        with pa.ipc.open_file(content) as file:
            self.about = json.loads(file.schema.metadata[b"studies"])
            self.batch = file.get_batch(0)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.address is not None:
            return open_packed, self.address
        return Packed, (self.content, None)

    def studies(self) -> FileStudies:
        """The source: its columns are views of the bytes."""
        columns: dict[str, Any] = {name: Column(self, name) for name in COLUMNS}
        names = tuple(self.about["label_names"])
        return FileStudies(
            self.about["name"],
            label_names=names,
            labels=self._labels(len(names)),
            colour=self.about["colour"],
            **columns,
        )

    def _labels(self, k: int) -> npt.NDArray[np.float32]:
        if k == 0:
            return np.empty((self.batch.num_rows, 0), np.float32)
        flat: npt.NDArray[np.float32] = self.batch.column("labels").flatten().to_numpy()
        return flat.reshape(-1, k)


def pack(studies: FileStudies) -> tuple[FileStudies, Address | None]:
    """The same source over packed columns, and where other processes find them.

    Args:
        studies: Any; those of one split.

    Returns:
        The source, with None where others cannot map it: the cache cannot be written,
        or a cell holds an object that has no form here, as facts of one's own reader may.
    """
    try:
        content = _content(studies)
    except TypeError as error:
        logger.info("%s: cells of type %s are not packed", studies.name, error)
        return studies, None
    address = _address(content)
    try:
        if not _holds(address):
            address.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _remove_unused(address.path.parent)
            write_whole(address.path, lambda aside: aside.write_bytes(content))
        return Packed(_mapped(address.path), address).studies(), address
    except (OSError, FileWriteError) as error:
        logger.warning("%s: other processes read it too: %s", studies.name, error)
        return Packed(content, None).studies(), None


def open_packed(path: Path, digest: str) -> Packed:
    """Map a packed source.

    Args:
        path: The file.
        digest: SHA-256 of its content.

    Raises:
        StoreError: If it is gone, or holds anything else.
    """
    address = Address(path, digest)
    if not _holds(address):
        raise StoreError(
            f"the studies that another process has packed in {path}",
            "no such file, or one that is damaged",
            "start again; leave the folder alone meanwhile",
        )
    return Packed(_mapped(path), address)


def _content(studies: FileStudies) -> pa.Buffer:
    columns = {name: _cells(name, getattr(studies, name)) for name in COLUMNS}
    k = len(studies.label_names)
    if k:
        flat = pa.array(np.ascontiguousarray(studies.labels, np.float32).ravel())
        columns["labels"] = pa.FixedSizeListArray.from_arrays(flat, k)
    about = {
        "name": studies.name,
        "label_names": studies.label_names,
        "colour": studies.colour,
    }
    batch = pa.record_batch(columns, metadata={"studies": json.dumps(about)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as file:
        file.write_batch(batch)
    return sink.getvalue()


def _cells(name: str, values: Sequence[Any]) -> pa.Array:
    write = _KINDS.get(name, _JSON).write
    # Nothing and many facts are one object in all rows, which this list keeps alive.
    values = list(values)
    known: dict[int, bytes] = {}
    for value in values:
        if id(value) not in known:
            known[id(value)] = write(value)
    cells = pa.array((known[id(value)] for value in values), pa.large_binary())
    # Views, sizes, patients: many rows say the same.
    once = pc.dictionary_encode(cells)
    return once if once.nbytes < cells.nbytes else cells


def _address(content: pa.Buffer) -> Address:
    digest = sha256(content).hexdigest()
    return Address(cache_folder() / "studies" / f"{digest[:24]}.arrow", digest)


def _mapped(path: Path) -> pa.Buffer:
    with pa.memory_map(str(path)) as file:
        return file.read_buffer()


def _holds(address: Address) -> bool:
    """Whether the file has the content; asking counts as a use of it."""
    try:
        found = sha256(_mapped(address.path)).hexdigest()
    except OSError:
        return False
    with suppress(OSError):  # a cache that others may only read
        os.utime(address.path)
    return found == address.sha256


def _remove_unused(folder: Path) -> None:
    for path in folder.glob("*.arrow"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > UNUSED:
                path.unlink()
