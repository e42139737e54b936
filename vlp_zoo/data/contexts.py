"""Distilled contexts from a side file, joined to the reports of a source."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.reports.contexts.context import read_contexts
from vlp_zoo.types import Report, Study, StudySource

__all__ = ["WithContexts", "join_contexts"]

logger = logging.getLogger(__name__)


def join_contexts(
    sources: Mapping[str, StudySource], path: Path
) -> dict[str, StudySource]:
    """Give the reports of all splits the contexts of a side file.

    A line belongs to the study whose uid it names, or, where it names an image file,
    to the one whose uid is that file's name without folders and suffix.

    Args:
        sources: Splits by name.
        path: A side file that `vlp_zoo.reports.contexts.context.read_contexts` reads.

    Raises:
        DatasetNotFoundError: If the file is missing or names none of the studies.
    """
    contexts = read_contexts(path)
    by_name = {PurePath(key).stem: text for key, text in contexts.items()} | contexts
    uids = [uid for source in sources.values() for uid in source.uids]
    joined = sum(uid in by_name for uid in uids)
    if not joined:
        raise DatasetNotFoundError(
            f"contexts for studies such as {uids[0]} in --data.context {path}",
            f"lines for {', '.join(list(contexts)[:3]) or 'none'}",
            "give the file that was distilled from these reports",
        )
    if joined < len(uids):
        logger.warning("%d of %d studies have a context", joined, len(uids))
    digest = sha256(path.read_bytes()).hexdigest()
    return {
        split: WithContexts(source, by_name, digest)
        for split, source in sources.items()
    }


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
        # As one block, which loader processes share, and not as objects that they copy.
        self.contexts = pa.array(map(contexts.get, source.uids), pa.large_string())
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
        context = self.contexts[index].as_py()
        return report if context is None else replace(report, context=context)
