"""The index of a prepared store: one row per image, in Parquet parts and one Arrow file.

Parts are what is written, a few thousand rows each and whole or not at all, so that an
interrupted run goes on after the last one; any tool that reads Parquet reads them. The
Arrow file holds the same rows uncompressed. It is mapped into memory and not loaded:
loader processes share its pages, and three million rows cost each of them nothing.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vlp_zoo.errors import StoreError
from vlp_zoo.files import write_whole

__all__ = [
    "INDEX",
    "Index",
    "part_path",
    "read_part",
    "row_schema",
    "write_index",
    "write_part",
]

INDEX = "index.arrow"
NOTES = b"vlpzoo"
"""Key of what a part says about itself beside its rows."""


def row_schema(splits: Sequence[str]) -> pa.Schema:
    """Columns of the index.

    Args:
        splits: Names of the split rules, a column each.
    """
    texts = ["uid", "dataset", "image", "patient_id", "study_id", "view", "split"]
    texts += [f"split_{name}" for name in splits]
    texts += ["text", "indication", "comparison", "findings", "impression", "context"]
    texts += ["boxes", "masks", "facts", "sha256", "source", "source_sha256"]
    sides = ["height", "width", "original_height", "original_width", "row"]
    return pa.schema(
        [
            *((name, pa.string()) for name in texts),
            *((name, pa.int32()) for name in sides),
            ("has_report", pa.bool_()),
            ("labels", pa.list_(pa.float32())),
            ("spacing_mm", pa.list_(pa.float64())),
            ("notes", pa.list_(pa.string())),
        ]
    )


def part_path(store: Path, part: int) -> Path:
    """The Parquet file of a part."""
    return store / "index" / f"part-{part:05d}.parquet"


def write_part(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    schema: pa.Schema,
    notes: Mapping[str, Any],
) -> None:
    """Write one part whole.

    Args:
        path: Path of the part, from `part_path`.
        rows: Possibly none.
        schema: Columns of the part, from `row_schema`.
        notes: JSON values that travel with the part; the hash of the rows is added.
    """
    lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    said = json.dumps({**notes, "rows_sha256": digest}, sort_keys=True)
    table = pa.Table.from_pylist(list(rows), schema.with_metadata({NOTES: said}))
    write_whole(path, lambda aside: pq.write_table(table, aside, compression="zstd"))


def read_part(path: Path) -> dict[str, Any]:
    """What a part says about itself, with the number of its ``rows``.

    Raises:
        StoreError: If it is not there or not whole.
    """
    try:
        with pq.ParquetFile(path) as file:
            said = json.loads(file.schema_arrow.metadata[NOTES])
            return {**said, "rows": file.metadata.num_rows}
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise StoreError(
            f"a part of an index in {path}",
            f"{type(error).__name__}: {error}",
            "delete the store and prepare the data set again",
        ) from error


def write_index(store: Path, parts: int, schema: pa.Schema) -> None:
    """Make the Arrow file out of the parts, one after the other."""

    def write(aside: Path) -> None:
        with pa.OSFile(str(aside), "wb") as sink, pa.ipc.new_file(sink, schema) as file:
            for part in range(parts):
                table = pq.read_table(part_path(store, part), schema=schema)
                # A record batch per part, however Parquet cut it.
                file.write_table(table.replace_schema_metadata(None).combine_chunks())

    write_whole(store / INDEX, write)


class Index:
    """The rows of a store, mapped and not loaded.

    Args:
        path: An Arrow file of `write_index`.

    Raises:
        StoreError: If it is not there or not whole.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            # Offsets that lead out of the file would end the process.
            self._table.validate()
            self._table.select(["uid", "image", "sha256", "labels", "masks"])
        except (OSError, KeyError, pa.ArrowException) as error:
            raise StoreError(
                f"the index of a prepared store in {path}",
                f"{type(error).__name__}: {error}",
                "run vlpzoo prepare again, with the options it was made with",
            ) from error
        self._batches = self._table.to_batches()
        self._ends = list(accumulate(batch.num_rows for batch in self._batches))
        self._columns: list[dict[str, Any] | None] = [None] * len(self._batches)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self._table.column_names)

    def cells(self, index: int, names: Sequence[str]) -> list[Any]:
        """Some columns of one row."""
        part = bisect_right(self._ends, index)
        columns = self._columns[part]
        if columns is None:
            # Handles of a few bytes each; the cells stay in the mapped file.
            batch = self._batches[part]
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            self._columns[part] = columns
        row = index - (self._ends[part] - self._batches[part].num_rows)
        return [columns[name][row].as_py() for name in names]

    def column(self, name: str, indices: npt.NDArray[np.int64]) -> list[Any]:
        """One column of some rows."""
        values: list[Any] = self._table.column(name).take(pa.array(indices)).to_pylist()
        return values

    def labels(self, indices: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.float32]:
        """Raw labels of some rows, (N, K)."""
        return self._all_labels.reshape(len(self), k)[indices]

    @cached_property
    def _all_labels(self) -> npt.NDArray[np.float32]:
        # Views of the mapped file; joining them is the only copy.
        flat = [batch.column("labels").flatten().to_numpy() for batch in self._batches]
        return np.concatenate(flat) if flat else np.empty(0, np.float32)

    def rows(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Some columns of all rows, in order."""
        for batch in self._batches:
            yield from batch.select(list(names)).to_pylist()
