"""TBX11K: 11,200 images of 512 x 512 pixels for tuberculosis, with boxes.

Layout of the release::

    imgs/{health,sick,tb,extra,test}/*.png
    annotations/json/TBX11K_train.json, TBX11K_val.json     # COCO, boxes as x, y, w, h
    annotations/xml/               # boxes in the frame of the original scans: not read
    lists/

and of the "simplified" pack on Kaggle::

    images/*.png                   # h0001.png, s0001.png, tb0001.png
    data.csv                       # one row per box; source is train or val

Labels: healthy, sick (but not of tuberculosis) and tuberculosis; each image is one of
them. In the release the folder says which: one image in ``tb`` has no box.
What kind of tuberculosis the boxes show is in their names, as in the JSON files
(ActiveTuberculosis, ObsoletePulmonaryTuberculosis for latent, PulmonaryTuberculosis for
uncertain), and in ``facts["tb_type"]``: "active", "latent", "active, latent",
"uncertain", or "" where none is stated.

The labels of the 2,800 test images are only on the organisers' server: these are listed
on request (``unlabelled=True``), without labels. ``imgs/extra`` (Shenzhen, Montgomery,
DA and DB, published before) is not part of the 11,200 and not read.

Splits: ``official`` is train and val as released; ``val_as_test`` tests on the released
validation images, as most papers do, and draws others from train by `canonical`'s rule.
BenchX splits the simplified pack anew (5,879 / 1,260 / 1,260); its order of rows is not
known, and it is not here. Patients are not released.

Access: open download. Licence CC BY-NC-SA 2.0. Cite Liu et al., "Rethinking
Computer-Aided Tuberculosis Diagnosis", CVPR 2020.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlp_zoo.data.chest.radiographs import fitted, lesion
from vlp_zoo.data.records import Card, Record, SplitRule
from vlp_zoo.data.splits import as_released, canonical_split, validation_as_test
from vlp_zoo.data.tables import Row, check_join, read_rows, without
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.reading import read_json
from vlp_zoo.types import Box

__all__ = ["CARD", "LABEL_NAMES", "read"]

LABEL_NAMES = ("Healthy", "Sick", "Tuberculosis")
FOLDERS = {"health": "Healthy", "sick": "Sick", "tb": "Tuberculosis"}
KINDS = {
    "ActiveTuberculosis": "active",
    "ObsoletePulmonaryTuberculosis": "latent",
    "PulmonaryTuberculosis": "uncertain",
}
"""Categories of the JSON files, and what the paper calls them."""

SIZE = (512, 512)
"""Height and width of every released image: the frame of the boxes."""

PACK_KINDS = {kind: name for name, kind in KINDS.items()}
NONE = ("", "none", "nan")
CORNER = ("xmin", "ymin", "width", "height")


@dataclass
class _Image:
    """What the tables say of one image; boxes are in a frame of ``size``."""

    uid: str
    file: Path
    row: int
    split: str
    label: str = ""
    size: tuple[int, int] = SIZE
    kinds: set[str] = field(default_factory=set)
    boxes: list[Box] = field(default_factory=list)

    def record(self) -> Record:
        known = tuple(float(label == self.label) for label in LABEL_NAMES)
        return Record(
            uid=self.uid,
            image=self.file,
            split=self.split,
            labels=known if self.label else (float("nan"),) * len(LABEL_NAMES),
            boxes=fitted(self.boxes, self.size, self.file),
            row=self.row,
            facts={"tb_type": ", ".join(sorted(self.kinds))},
        )


def read(root: Path, *, unlabelled: bool = False) -> Iterator[Record]:
    """Records in the order of the JSON files (train, then val) or of data.csv.

    Args:
        root: Folder with ``annotations/json`` and ``imgs``, or with ``data.csv``.
        unlabelled: List the images in ``imgs/test`` too; their labels are NaN.

    Raises:
        DatasetNotFoundError: If tables or images are missing, or say what the data set
            does not know.
    """
    if (root / "data.csv").is_file():
        yield from _simplified(root)
        return
    if not (root / "imgs").is_dir():
        what = (
            "imgs and annotations/json of TBX11K, or data.csv of the simplified pack,"
        )
        raise without(what, root)
    for split in ("train", "val"):
        yield from _release(root, split)
    if unlabelled:
        for row, path in enumerate(sorted((root / "imgs" / "test").glob("*.png")), 1):
            yield _Image(f"test/{path.name}", path, row, "test").record()


def _release(root: Path, split: str) -> Iterator[Record]:
    path = root / "annotations" / "json" / f"TBX11K_{split}.json"
    content = _json(path)
    categories = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
    unknown = set(categories.values()) - set(KINDS)
    if unknown:
        raise DatasetNotFoundError(
            f"the categories {', '.join(KINDS)} in {path}",
            ", ".join(sorted(unknown)),
            "download the official file again",
        )
    boxes: dict[Any, list[Box]] = {}
    for entry in content["annotations"]:
        box = lesion(categories[entry["category_id"]], map(float, entry["bbox"]))
        boxes.setdefault(entry["image_id"], []).append(box)
    check_join(boxes, {image["id"] for image in content["images"]}, "images", path)
    for row, image in enumerate(content["images"], 1):
        name = str(image["file_name"]).replace("\\", "/")
        folder = name.split("/")[0]
        if folder not in FOLDERS:
            raise DatasetNotFoundError(
                f"images in health, sick or tb in {path}",
                name,
                "download the official file again; TBX11K_*.json, not all_*.json",
            )
        found = boxes.get(image["id"], [])
        kinds = {KINDS[box.name] for box in found}
        size = _size(image.get("height"), image.get("width"))
        place = (name, root / "imgs" / name, row, split)
        yield _Image(*place, FOLDERS[folder], size, kinds, found).record()


def _simplified(root: Path) -> Iterator[Record]:
    images: dict[str, _Image] = {}
    for row in read_rows(root / "data.csv", ["fname", "bbox", "target"]):
        name = row["fname"]
        if name not in images:
            split = canonical_split(row.get("source")) or ""
            size = _size(row.get("image_height"), row.get("image_width"))
            place = (name, root / "images" / name, row.line, split)
            images[name] = _Image(*place, _label(row), size)
        kind = row.get("tb_type").lower()
        kinds = {known for known in PACK_KINDS if known in kind}
        images[name].kinds |= kinds
        if row["bbox"].lower() not in NONE:
            # Where a row names both kinds it does not say which one the box shows.
            named = PACK_KINDS[min(kinds)] if len(kinds) == 1 else "Tuberculosis"
            images[name].boxes.append(_box(row, named))
    yield from (image.record() for image in images.values())


def _size(height: Any, width: Any) -> tuple[int, int]:
    """What a table says of an image's size; all that were released have one."""
    sides = [str(side or "").strip().removesuffix(".0") for side in (height, width)]
    if all(side.isdecimal() and int(side) for side in sides):
        return int(sides[0]), int(sides[1])
    return SIZE


def _label(row: Row) -> str:
    name, target = row["fname"], row["target"].lower()
    kind = row.get("image_type").lower()
    if target == "tb":
        return "Tuberculosis"
    for start in ("healthy", "sick"):
        if target == "no_tb" and kind.startswith(start):
            return start.capitalize()
    # Copies without the column still have h0001.png and s0001.png.
    if target == "no_tb" and kind in NONE and name[:1] in ("h", "s"):
        return "Healthy" if name.startswith("h") else "Sick"
    found = f"target {target}, image_type {kind}"
    raise row.refused("tb, or no_tb and healthy or sick,", found)


def _box(row: Row, name: str) -> Box:
    try:
        corner = ast.literal_eval(row["bbox"])
        return lesion(name, (float(corner[k]) for k in CORNER))
    except (ValueError, SyntaxError, TypeError, KeyError) as error:
        what = "a box with xmin, ymin, width and height"
        raise row.refused(what, row["bbox"]) from error


def _json(path: Path) -> dict[str, Any]:
    content = read_json(path, "the annotations")
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or any(key not in content for key in keys):
        raise DatasetNotFoundError(
            f"{', '.join(keys)} in {path}", "another JSON file", "download it again"
        )
    return content


CARD = Card(
    name="tbx11k",
    title="TBX11K",
    domain="chest",
    read=read,
    label_names=LABEL_NAMES,
    gives=("labels", "boxes"),
    patients="none",
    markers=("annotations/json/TBX11K_*.json", "images/tb*.png"),
    access="open download; a simplified pack is on Kaggle",
    licence="CC BY-NC-SA 2.0",
    citation="Liu et al., Rethinking Computer-Aided Tuberculosis Diagnosis, CVPR 2020",
    splits={
        "official": SplitRule(
            as_released,
            level="image",
            source="released train and val; the test labels are not public",
            counts={"train": 6_600, "val": 1_800},
        ),
        "val_as_test": SplitRule(
            validation_as_test,
            level="image",
            source="released val as test; validation images by the canonical rule",
        ),
    },
    single_label=True,
    overlaps=("shenzhen", "montgomery"),
)
