"""A prepared store as a data module: ``--data prepared``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from vlp_zoo.data.base import PairsDataModule
from vlp_zoo.data.catalogue import WORDS
from vlp_zoo.data.splits import check_patients
from vlp_zoo.data.store.reading import describe, open_store
from vlp_zoo.data.tables import check_word
from vlp_zoo.errors import DataRejectedError
from vlp_zoo.types import StudySource

__all__ = ["Prepared"]

logger = logging.getLogger(__name__)


class Prepared(PairsDataModule):
    """A store that vlpzoo prepare made, of any data set.

    Its images were checked when it was made; they are not looked at again here.

    Args:
        root: Folder of the store.
        split: The split rule: canonical, official, or another that store.json lists.
        views: Keep only these views, for example [PA, AP]; None keeps all.
        uncertain: What an uncertain label (-1) becomes: card (what the data set's card
            says), nan, one, zero or half.
        on_error: Where the data set gives reports: "raise" to stop at studies without
            one, "skip" to go on without them.
        **kwargs: Further options of `PairsDataModule`.
    """

    def __init__(
        self,
        root: str,
        *,
        split: str = "canonical",
        views: list[str] | None = None,
        uncertain: str = "card",
        on_error: Literal["raise", "skip"] = "raise",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_word(uncertain, ("card", *WORDS), "--data.uncertain")
        self.root = Path(root)
        self.split = split
        self.views = views
        self.on_error = on_error
        self.need_report = True
        self.policy: float | Mapping[str, float] | None = WORDS.get(uncertain)

    @property
    def licence(self) -> str:
        """Terms of the data set that the store was made of."""
        return str(describe(self.root).get("licence") or "unknown")

    def _sources(self) -> dict[str, StudySource]:
        studies, splits = open_store(
            self.root,
            split=self.split,
            views=self.views,
            uncertain=self.policy,
        )
        rule = studies.description["splits"][self.split]
        if not rule.get("legacy") and studies.description["patients"] != "none":
            check_patients(
                f"{self.root}, split {self.split}",
                studies.patient_ids,
                splits,
                "choose another --data.split, or prepare a table that is split by patient",
            )
        self.has_reports = "reports" in studies.description["gives"]
        needed = self.need_report and self.has_reports
        without = 0
        kept: dict[str, list[int]] = {"train": [], "val": [], "test": []}
        for i, has_report in enumerate(studies.column("has_report")):
            if needed and not has_report:
                without += 1
            elif splits[i] in kept:
                kept[splits[i]].append(i)
        if without and (self.on_error == "raise" or without == len(studies)):
            raise DataRejectedError(
                f"reports for all images in {self.root}",
                f"{without} of {len(studies)} have none",
                "leave these out with --data.on_error skip",
            )
        if without:
            logger.warning(
                "%s: %d images without a report left out", self.root, without
            )
        return {
            split: studies.subset(indices, f"{studies.name} {split}")
            for split, indices in kept.items()
            if indices
        }
