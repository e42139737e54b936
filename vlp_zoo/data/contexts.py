"""Distilled contexts from a side file, joined to the reports of a source."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.types import Report, Study, StudySource

__all__ = ["WithContexts", "read_contexts"]

KEYS = ("uid", "image", "image_path")
"""Columns that may say which study a row belongs to, best first."""


def read_contexts(path: Path) -> tuple[dict[str, str], str]:
    """Read a side file of distilled contexts.

    Args:
        path: CSV, or JSON lines (``.jsonl``), with the columns ``context`` and one of
            ``uid``, ``image``, ``image_path``.

    Returns:
        Context by key, and the SHA-256 of the file.

    Raises:
        DatasetNotFoundError: If the file or its columns are not there.
    """
    if not path.is_file():
        raise DatasetNotFoundError(
            f"the contexts of --data.context {path}",
            "no such file",
            "vlpzoo distil writes one; or leave the option out to distil by rule",
        )
    content = path.read_bytes()
    lines = content.decode("utf-8-sig").splitlines(keepends=True)
    rows: list[dict[str, Any]]
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in lines if line.strip()]
    else:
        rows = list(csv.DictReader(lines))
    columns = list(rows[0]) if rows else []
    key = next((name for name in KEYS if name in columns), None)
    if key is None or "context" not in columns:
        raise DatasetNotFoundError(
            f"the columns context and one of {', '.join(KEYS)} in {path}",
            f"columns {columns}",
            "rename the columns of the file",
        )
    contexts = {str(row[key]): str(row["context"]) for row in rows if row["context"]}
    return contexts, sha256(content).hexdigest()


class WithContexts:
    """A source whose reports carry the distilled context of a side file.

    Args:
        source: Where the studies come from.
        contexts: Context by uid; studies without one keep None.
        digest: SHA-256 of the side file, so that caches notice when it changes.
    """

    def __init__(
        self, source: StudySource, contexts: dict[str, str], digest: str
    ) -> None:
        self.source = source
        self.contexts = contexts
        self.name = source.name
        self.label_names = source.label_names
        self.uids = source.uids
        self.patient_ids = source.patient_ids
        self.labels: npt.NDArray[np.float32] = source.labels
        self.fingerprint = sha256(f"{source.fingerprint} {digest}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Study:
        study = self.source[index]
        return replace(study, report=self._with(study.report, index))

    def reports(self) -> Iterator[Report]:
        """All reports in order, no image decoded."""
        for index, report in enumerate(self.source.reports()):
            yield self._with(report, index)

    def _with(self, report: Report, index: int) -> Report:
        context = self.contexts.get(self.uids[index])
        return report if context is None else replace(report, context=context)
