"""The data sets one can name after ``--data``, each as a Lightning data module."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from vlp_zoo.data.base import OnDisk, PairsDataModule
from vlp_zoo.data.official import MIMICCXR
from vlp_zoo.data.pairs import PairColumns, read_pairs, splits_of
from vlp_zoo.data.store.datamodule import Prepared
from vlp_zoo.data.studies import FileStudies
from vlp_zoo.types import StudySource

__all__ = [
    "MIMICCXR",
    "Pairs",
    "PairsDataModule",
    "PhantomChest",
    "PhantomFundus",
    "Prepared",
]

logger = logging.getLogger(__name__)

DRAWN_LICENCE = "Apache-2.0, as the package that draws them; they show no patient"


class Drawn(PairsDataModule):
    """A world that is drawn as it is read.

    Args:
        train_studies: Visits or examinations in the training split.
        val_studies: Visits or examinations in the validation split.
        test_studies: Visits or examinations in the test split.
        image_size: Side of the square images in pixels.
        world_seed: Seed of the drawn patients; another seed is another hospital.
        **kwargs: Further options of `PairsDataModule`.
    """

    def __init__(
        self,
        *,
        train_studies: int = 2000,
        val_studies: int = 200,
        test_studies: int = 400,
        image_size: int = 224,
        world_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.studies = {"train": train_studies, "val": val_studies}
        self.studies["test"] = test_studies
        self.image_size = image_size
        self.world_seed = world_seed

    @property
    def licence(self) -> str:
        """Terms of what the package draws."""
        return DRAWN_LICENCE

    def _drawn(
        self, source: Callable[..., StudySource], **options: str
    ) -> dict[str, StudySource]:
        return {
            split: source(
                split=split,
                studies=studies,
                seed=self.world_seed,
                image_size=self.image_size,
                **options,
            )
            for split, studies in self.studies.items()
            if studies > 0
        }


class PhantomChest(Drawn):
    """Synthetic chest X-rays with written reports; nothing to download.

    Args:
        views: "frontal" for PA and AP only, "all" for lateral images too.
        **kwargs: Further options of `Drawn` and `PairsDataModule`.
    """

    def __init__(
        self, *, views: Literal["frontal", "all"] = "frontal", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.views = views

    def _sources(self) -> dict[str, StudySource]:
        from vlp_zoo.data.phantom.chest.source import PhantomChestSource

        return self._drawn(PhantomChestSource, views=self.views)


class PhantomFundus(Drawn):
    """Synthetic colour fundus photographs with written reports; nothing to download.

    Args:
        eyes: "one" for one photograph per visit, "both" for right and left eye.
        labels: "findings" that may occur together, or "grades" of retinopathy.
        **kwargs: Further options of `Drawn` and `PairsDataModule`.
    """

    def __init__(
        self,
        *,
        eyes: Literal["one", "both"] = "one",
        labels: Literal["findings", "grades"] = "findings",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.eyes = eyes
        self.labels = labels

    def _sources(self) -> dict[str, StudySource]:
        from vlp_zoo.data.phantom.fundus import source as fundus

        grades = self.labels == "grades"
        source = fundus.PhantomFundusGrades if grades else fundus.PhantomFundusSource
        return self._drawn(source, eyes=self.eyes)


class Pairs(OnDisk):
    """Your own images and reports, listed in a CSV or Parquet file.

    One row per image. Only the image column and a text (sections or a whole report)
    are needed. Without a split column patients are split by the hash of their id.

    Args:
        path: The table, .csv or .parquet.
        image_root: Folder that image paths start from; None is the table's own.
        image_column: Path of the image.
        report_column: The whole report, whose sections are found by their headings;
            None takes ready sections from the two columns below.
        findings_column: Findings section.
        impression_column: Impression section.
        patient_column: Patient, so that nobody is in two splits.
        study_column: Examination; its images share it.
        split_column: train, val (valid, validate) or test.
        view_column: PA, AP, lateral or frontal.
        boxes_column: JSON list of boxes, [x1, y1, x2, y2] or {"name": ..., "xyxy": ...}
            in pixels of the image.
        masks_column: JSON object, the name of each mask to its picture.
        colour: Keep images in colour, as fundus photographs are.
        reports: False for a table of images and labels, without texts.
        label_prefix: Start of the names of label columns.
        views: Keep only these views, for example [PA, AP]; FRONTAL means both.
        val_fraction: Share of patients to validate on, without a split column.
        test_fraction: Share of patients to test on, without a split column.
        split_seed: Another seed splits patients another way; not the seed of training.
        **kwargs: Further options of `OnDisk`.
    """

    def __init__(
        self,
        path: str,
        *,
        image_root: str | None = None,
        image_column: str = "image",
        report_column: str | None = None,
        findings_column: str = "findings",
        impression_column: str = "impression",
        patient_column: str = "patient_id",
        study_column: str = "study_id",
        split_column: str = "split",
        view_column: str = "view",
        boxes_column: str = "boxes",
        masks_column: str = "masks",
        colour: bool = False,
        reports: bool = True,
        label_prefix: str = "label_",
        views: list[str] | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = Path(path)
        self.image_root = Path(image_root) if image_root is not None else None
        self.columns = PairColumns(
            image=image_column,
            report=report_column,
            findings=findings_column,
            impression=impression_column,
            patient_id=patient_column,
            study_id=study_column,
            split=split_column,
            view=view_column,
            boxes=boxes_column,
            masks=masks_column,
            label_prefix=label_prefix,
        )
        self.colour = colour
        self.has_reports = reports
        self.views = views
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.split_seed = split_seed

    def _read(self) -> tuple[FileStudies, list[str]]:
        studies, splits = read_pairs(
            self.path,
            self.columns,
            image_root=self.image_root,
            views=self.views,
            need_report=self.has_reports,
            colour=self.colour,
        )
        return studies, splits_of(
            self.path,
            studies,
            splits,
            val=self.val_fraction,
            test=self.test_fraction,
            seed=self.split_seed,
        )
