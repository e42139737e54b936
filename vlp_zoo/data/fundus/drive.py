"""DRIVE: 40 fundus photographs with their vessels outlined.

Layout::

    training/images/21_training.tif ... 40_training.tif
    training/1st_manual/21_manual1.gif
    training/mask/21_training_mask.gif
    test/images/01_test.tif ... 20_test.tif
    test/mask/01_test_mask.gif
    test/1st_manual/01_manual1.gif, test/2nd_manual/01_manual2.gif

What is downloaded today has no ``1st_manual`` and ``2nd_manual`` in ``test``: the test
images then have no vessels (``facts["annotated"]`` is False), and a warning says so.

Masks: ``vessel`` (first observer), ``vessel, second observer`` and ``field of view``.
Scores are taken inside the field of view. Labels: none. No patient ids.

Splits: ``official``, 20 and 20, validation images drawn from training.

Access: registration with the challenge. Cite Staal et al., "Ridge-based vessel
segmentation in color images of the retina", IEEE TMI 23, 2004.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from vlp_zoo.data.records import Card, MaskRef, Record
from vlp_zoo.data.splits import released
from vlp_zoo.data.tables import find_one
from vlp_zoo.errors import DatasetNotFoundError

__all__ = ["CARD", "read"]

logger = logging.getLogger(__name__)

MASKS = {
    "1st_manual": "vessel",
    "2nd_manual": "vessel, second observer",
    "mask": "field of view",
}


def read(root: Path) -> Iterator[Record]:
    """Records in the order of the numbers, training first.

    Args:
        root: Folder with ``training`` and ``test``.

    Raises:
        DatasetNotFoundError: If there is no ``training`` folder with images.
    """
    training = find_one(root, ["training", "DRIVE/training"], "the images of DRIVE")
    row = 1
    for part, split in (("training", "train"), ("test", "test")):
        folder = training.with_name(part)
        masks = {name: _numbered(folder / name) for name in MASKS}
        images = _numbered(folder / "images")
        if split == "train" and not images:
            raise DatasetNotFoundError(
                f"images/##_training.tif in {folder}",
                "none",
                "unpack the archive there",
            )
        if images and not masks["1st_manual"]:
            logger.warning(
                "DRIVE: no vessels in %s; its images can be predicted, not scored",
                folder / "1st_manual",
            )
        for image_number in sorted({*images, *(n for m in masks.values() for n in m)}):
            row += 1
            uid = f"{image_number}_{part}"
            yield Record(
                uid=uid,
                image=images.get(image_number, folder / "images" / f"{uid}.tif"),
                split=split,
                masks=tuple(
                    MaskRef(name, "file", masks[inner][image_number], two_valued=True)
                    for inner, name in MASKS.items()
                    if image_number in masks[inner]
                ),
                row=row,
                facts={"annotated": image_number in masks["1st_manual"]},
            )


def _numbered(folder: Path) -> dict[str, Path]:
    """Files by the number in front of their names."""
    if not folder.is_dir():
        return {}
    paths = [path for path in sorted(folder.iterdir()) if path.name[:2].isdigit()]
    return {path.name.split("_")[0]: path for path in paths}


CARD = Card(
    name="drive",
    title="DRIVE",
    domain="fundus",
    read=read,
    label_names=(),
    gives=("masks",),
    patients="none",
    markers=("training/images", "DRIVE/training/images"),
    access="registration with the challenge",
    licence="research use",
    citation="Staal et al., Ridge-based vessel segmentation, TMI 2004",
    splits={
        "official": released(
            "the folders training and test of DRIVE",
            "download both, or use --data.split canonical",
            level="image",
            source="released folders; validation images by the canonical rule",
            issues=("where the test folder has no 1st_manual nothing can be scored",),
        ),
    },
)
