"""Object-CXR: 10,000 frontal images, half of them with foreign objects, outlined.

Layout::

    train/*.jpg, train.csv         # 8,000
    dev/*.jpg, dev.csv             # 1,000
    test/*.jpg, test.csv           # 1,000, in Kaggle's copy only

A table has ``image_name`` (``image_path`` in test.csv) and ``annotation``: objects
divided by semicolons, each ``0 x1 y1 x2 y2`` (rectangle), ``1 x1 y1 x2 y2`` (ellipse
in that rectangle) or ``2 x1 y1 x2 y2 x3 y3 ...`` (polygon); blank for an image without
an object.

Label: "Foreign object", 1 where there is an annotation. Every object is a box, tight
around its shape, and part of the one mask "Foreign object", drawn as annotated.

Splits: ``official`` as released: train, dev as validation, and the test set where the
copy has one (BenchX's 8,000 / 1,000 / 1,000); ``dev_as_test`` tests on dev and draws
validation images from train by `canonical`'s rule, as MGCA does with an order of its
own that is not known. Patients are not released.

Access: the site of the challenge (MIDL 2020, JF Healthcare) is gone; copies are on
Kaggle and in archives. Licence CC BY-NC 4.0. Cite the challenge, "object-CXR: Automatic
detection of foreign objects on chest X-rays", MIDL 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import numpy as np

from vlp_zoo.data.records import Card, MaskRef, Record, SplitRule
from vlp_zoo.data.splits import as_released, validation_as_test
from vlp_zoo.data.tables import AGAIN, Row, read_rows, without
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.types import Box

__all__ = ["CARD", "LABEL_NAMES", "read"]

LABEL_NAMES = ("Foreign object",)
SPLITS = {"train": "train", "dev": "val", "test": "test"}
RECTANGLE, ELLIPSE, POLYGON = "0", "1", "2"


def read(root: Path) -> Iterator[Record]:
    """Records in the order of train.csv, dev.csv and test.csv, where they are there.

    Args:
        root: Folder with ``train.csv``.

    Raises:
        DatasetNotFoundError: If all tables, a column or all images are missing, or an
            annotation is none.
    """
    tables = {
        folder: path
        for folder in SPLITS
        for path in (root / f"{folder}.csv", root / f"{folder}.csv.gz")
        if path.is_file()
    }
    if not tables:
        raise without("train.csv, dev.csv or test.csv of Object-CXR", root)
    if not any((root / folder).is_dir() for folder in SPLITS):
        what = "images of Object-CXR, the folders train, dev or test,"
        raise without(what, root, "unpack train.zip and dev.zip there")
    for folder, path in tables.items():
        yield from _read_table(root, folder, path)


def _read_table(root: Path, folder: str, path: Path) -> Iterator[Record]:
    rows = read_rows(path, ["annotation"])
    column = next((c for c in ("image_name", "image_path") if c in rows[0]), None)
    if column is None:
        raise DatasetNotFoundError(
            f"the column image_name or image_path in {path}",
            f"columns {', '.join(rows[0].headings)}",
            AGAIN,
        )
    for row in rows:
        # Paths lead to where the file was on the machine that wrote the table.
        name = PureWindowsPath(row[column]).name
        boxes, masks = _objects(row)
        uid = f"{folder}/{name}"
        yield Record(
            uid=uid,
            image=root / folder / name,
            split=SPLITS[folder],
            labels=(float(bool(boxes)),),
            boxes=boxes,
            masks=masks,
            row=row.line,
            facts={"objects": len(boxes)},
        )


def _objects(row: Row) -> tuple[tuple[Box, ...], tuple[MaskRef, ...]]:
    boxes, masks = [], []
    (name,) = LABEL_NAMES
    for entry in filter(str.strip, row["annotation"].split(";")):
        kind, *words = entry.split()
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            numbers = []
        if kind in (RECTANGLE, ELLIPSE) and len(numbers) == 4:
            x1, y1, x2, y2 = numbers
            shape = MaskRef(
                name,
                "rectangle" if kind == RECTANGLE else "ellipse",
                (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)),
            )
            points = np.array([[x1, y1], [x2, y2]])
        elif kind == POLYGON and len(numbers) >= 6 and len(numbers) % 2 == 0:
            points = np.array(numbers).reshape(-1, 2)
            shape = MaskRef(name, "polygon", points.tolist())
        else:
            raise row.refused("a rectangle, ellipse or polygon", entry)
        # Some are drawn from the lower right corner.
        (x1, y1), (x2, y2) = points.min(0).tolist(), points.max(0).tolist()
        boxes.append(Box(name, (x1, y1, x2, y2), "lesion"))
        masks.append(shape)
    return tuple(boxes), tuple(masks)


CARD = Card(
    name="object_cxr",
    title="Object-CXR",
    domain="chest",
    read=read,
    label_names=LABEL_NAMES,
    gives=("labels", "boxes", "masks"),
    patients="none",
    markers=("dev.csv*",),
    access="copies on Kaggle and in archives; the official site is gone",
    licence="CC BY-NC 4.0",
    citation="JF Healthcare, object-CXR, MIDL 2020",
    splits={
        "official": SplitRule(
            as_released,
            level="image",
            source="released train, dev and test; used by BenchX",
            counts={"train": 8_000, "val": 1_000, "test": 1_000},
        ),
        "dev_as_test": SplitRule(
            validation_as_test,
            level="image",
            source="test on dev as in MGCA; validation images by the canonical rule",
        ),
    },
)
