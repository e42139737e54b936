"""SIIM-ACR Pneumothorax: 12,047 images of ChestX-ray14 with masks of pneumothoraces.

Layout of the Kaggle archive (stage 1)::

    train-rle.csv                  # ImageId, " EncodedPixels": the heading has a blank
    dicom-images-train/<study>/<series>/<ImageId>.dcm
    dicom-images-test/...          # used only if the table has its images

``stage_2_train.csv``, which has the images of both folders, is read where there is no
``train-rle.csv``; tables may be zipped, and images lie in three levels, in one, or as
PNG or JPEG in ``images``, ``png`` or ``train``. The popular PNG re-pack::

    stage_1_train_images.csv, stage_1_test_images.csv    # new_filename, ImageId, has_pneumo
    png_images/<number>_{train,test}_{0,1}_.png
    png_masks/...                  # same names, 0 and 255

Masks: run lengths that no usual decoder reads: the gap since the end of the last run,
then its length, column by column in 1024 x 1024 (`decode_relative_rle`). An image has
a row for each of its regions (624 images have two to ten), which are joined; "-1", with
or without a blank, is an empty mask.

Labels: ``Pneumothorax``, 1 where there is any mask. Patients are not released, and the
image ids are new: the images are ChestX-ray14's, but only pixels tell which.

Splits (by image at best): ``official`` has the images of stage 1's test folder as test
set (1,372; re-pack, or a table that lists them) and draws validation images by
`canonical`'s rule. ``benchx`` (9,303 / 1,372 / 1,372, re-pack only) is stratified, seed
42, on the file names: positives, then negatives, each sorted. ``mgca`` splits the *rows*
of ``train-rle.csv`` 70 / 15 / 15 with seed 0, so an image with several regions can be
in training and in test with a part of its mask each. Here an image has one split (test
before val before train) and its whole mask: the test images are MGCA's, but not all of
their masks, and none of them is a training image. MRM's lists, which ECAMP uses too,
have 494 of 1,904 test images in training, and are not here.

Access: Kaggle, competition terms. Cite Zawacki et al., "SIIM-ACR Pneumothorax
Segmentation", Kaggle, 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vlp_zoo.data.chest.radiographs import files_by_stem, split_once, two_step_split
from vlp_zoo.data.records import Card, MaskRef, Record, SplitRule
from vlp_zoo.data.splits import released
from vlp_zoo.data.tables import find_one, read_rows, without
from vlp_zoo.errors import DatasetNotFoundError

__all__ = ["CARD", "read"]

LABEL = "Pneumothorax"
SIZE = (1024, 1024)
"""Height and width of the frame of all run lengths."""

RLE_TABLES = (
    "train-rle.csv",
    "train-rle.csv.*",
    "stage_2_train.csv",
    "stage_2_train.csv.*",
    "*train-rle*.csv*",
)
FLAT_FOLDERS = ("images", "png", "train", "test")
IN_MASK = (128, 255)


def read(root: Path) -> Iterator[Record]:
    """Records in the order in which the tables first name an image.

    Args:
        root: Folder with ``train-rle.csv``, or with the re-pack's tables.

    Raises:
        DatasetNotFoundError: If tables, columns or all images are missing.
    """
    if (root / "stage_1_train_images.csv").is_file():
        yield from _repack(root)
    else:
        yield from _dicom(root)


def _dicom(root: Path) -> Iterator[Record]:
    path = find_one(root, RLE_TABLES, "train-rle.csv of SIIM-ACR Pneumothorax")
    # The heading's blank is gone after reading.
    table = read_rows(path, ["ImageId", "EncodedPixels"])
    folders = [*sorted(root.glob("dicom-images-*")), *(root / f for f in FLAT_FOLDERS)]
    images = files_by_stem(folders, deep=True)
    if not images:
        raise without("dicom-images-train/*/*/*.dcm", root, "unpack the images there")
    regions: dict[str, list[str]] = {}
    rows: dict[str, list[int]] = {}
    for row in table:
        rows.setdefault(row["ImageId"], []).append(row.line)
        regions.setdefault(row["ImageId"], []).append(row["EncodedPixels"] or "-1")
    for uid, rles in regions.items():
        image = images.get(uid)
        inner = "" if image is None else image.relative_to(root).parts[0]
        yield Record(
            uid=uid,
            # Its folders are named by ids that the table does not have.
            image=image or root / "dicom-images-train" / f"{uid}.dcm",
            split="test" if inner in ("dicom-images-test", "test") else "train",
            labels=(float(any(rle != "-1" for rle in rles)),),
            masks=tuple(MaskRef(LABEL, "rle_relative", rle, size=SIZE) for rle in rles),
            row=rows[uid][0],
            facts={"rows": tuple(rows[uid])},
        )


def _repack(root: Path) -> Iterator[Record]:
    images = files_by_stem([root / "png_images", root / "images"])
    masks = files_by_stem([root / "png_masks", root / "masks"])
    if not images:
        raise without("png_images/*.png", root, "unpack the images there")
    for split in ("train", "test"):
        path = root / f"stage_1_{split}_images.csv"
        for row in read_rows(path, ["new_filename", "ImageId", "has_pneumo"]):
            name, uid = row["new_filename"], row["ImageId"]
            stem = Path(name).stem
            mask = masks.get(stem, root / "png_masks" / name)
            yield Record(
                uid=uid,
                image=images.get(stem, root / "png_images" / name),
                split=split,
                labels=row.labels(["has_pneumo"]),
                masks=(MaskRef(LABEL, "file", mask, IN_MASK, two_valued=True),),
                row=row.line,
                facts={"file": name},
            )


def _mgca(records: Sequence[Record]) -> list[str]:
    rows = sorted(
        (line, i) for i, r in enumerate(records) for line in r.facts.get("rows", ())
    )
    if not rows:
        raise DatasetNotFoundError(
            "train-rle.csv of SIIM-ACR Pneumothorax for the split mgca",
            "the PNG re-pack, which has no rows per region",
            "use the Kaggle archive, or --data.split benchx",
        )
    named = two_step_split(len(rows), held_out=0.3, seed=0, test_first=True)
    splits = [""] * len(records)
    for wanted in ("train", "val", "test"):
        for (_, i), split in zip(rows, named, strict=True):
            if split == wanted:
                splits[i] = split
    return splits


def _benchx(records: Sequence[Record]) -> list[str]:
    if not all("file" in record.facts for record in records):
        raise DatasetNotFoundError(
            "stage_1_train_images.csv of the PNG re-pack for the split benchx",
            "the Kaggle archive, whose images have other names",
            "use the re-pack, or --data.split official or canonical",
        )
    test = sum(record.split == "test" for record in records)
    pool = sorted(
        (i for i, record in enumerate(records) if record.split != "test"),
        key=lambda i: (-records[i].labels[0], records[i].facts["file"]),
    )
    strata = [record.labels[0] for record in records]
    _, held_out = split_once(pool, test, 42, strata)
    val = set(held_out)
    return [
        "test" if record.split == "test" else "val" if i in val else "train"
        for i, record in enumerate(records)
    ]


PATIENTS = "patients are not released: they may be on several sides"

CARD = Card(
    name="siim",
    title="SIIM-ACR Pneumothorax",
    domain="chest",
    read=read,
    label_names=(LABEL,),
    gives=("labels", "masks"),
    patients="none",
    markers=("*train-rle*.csv*", "stage_2_train.csv*", "stage_1_train_images.csv"),
    access="Kaggle, SIIM-ACR Pneumothorax Segmentation (2019), or its PNG re-pack",
    licence="competition terms; the images are ChestX-ray14's",
    citation="Zawacki et al., SIIM-ACR Pneumothorax Segmentation, Kaggle 2019",
    splits={
        "official": released(
            "images of stage 1's test folder with masks",
            "use the PNG re-pack or stage_2_train.csv, or --data.split canonical",
            level="image",
            source="stage 1's train and test; validation by the canonical rule",
            issues=(PATIENTS,),
        ),
        "mgca": SplitRule(
            _mgca,
            level="image",
            source="MGCA (HKU-MedAI/MGCA @6445a90), preprocess/siim.py",
            issues=(
                "a split of rows: an image can be in training and in test; not here",
                PATIENTS,
            ),
            legacy=True,
        ),
        "benchx": SplitRule(
            _benchx,
            level="image",
            source="BenchX (yangzhou12/BenchX @b0796f2), preprocess_siim.py",
            counts={"train": 9_303, "val": 1_372, "test": 1_372},
            issues=(PATIENTS,),
        ),
    },
    overlaps=("nih14", "rsna"),
)
