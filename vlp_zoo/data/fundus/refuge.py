"""REFUGE: 1,200 fundus photographs with glaucoma, optic disc and cup, and fovea.

Layout; archives may be unpacked into folders of their own name or not::

    REFUGE - Training400 / Training400 / {Glaucoma, Non - Glaucoma} / {g, n}  ####.jpg
    Annotation - Training400 / Disc_Cup_Masks / {Glaucoma, Non - Glaucoma} / {
        g,
        n,
    }  ####.bmp
    Annotation - Training400 / Fovea_location.xlsx
    REFUGE - Validation400 / V  ####.jpg
    REFUGE - Validation400 - GT / Disc_Cup_Masks / V  ####.bmp
    REFUGE - Validation400 - GT / Fovea_locations.xlsx  # and "Glaucoma Label"
    Test400 / T  ####.jpg
    REFUGE - Test - GT / Disc_Cup_Masks / {G, N} / T  ####.bmp
    REFUGE - Test - GT / Glaucoma_label_and_Fovea_location.xlsx  # "Label(Glaucoma=1)"

Files are found by name (``g``, ``n``, ``V``, ``T`` and four digits), in whatever folder.

Labels: glaucoma, from the name in training and from the spreadsheets (which need
openpyxl) else; NaN without them. Masks: BMP values are 0 cup, 128 rim and 255
background, the other way round than in RIGA; ``optic disc`` is cup and rim together.
``facts["fovea"]`` is ``(x, y)`` in pixels where a spreadsheet has it.

Splits: ``official``, 400 images each; the training images are of a Zeiss camera, all
others of a Canon (``facts["device"]``). No patient ids.

Access: registration with the challenge. Cite Orlando et al., "REFUGE Challenge",
Medical Image Analysis 59:101570, 2020.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from vlp_zoo.data.fundus.photographs import bare
from vlp_zoo.data.records import Card, MaskRef, Record
from vlp_zoo.data.splits import released
from vlp_zoo.data.tables import number, read_rows, without

__all__ = ["CARD", "read"]

logger = logging.getLogger(__name__)

SPLITS = {"g": "train", "n": "train", "V": "val", "T": "test"}
FOLDERS = {
    "g": "Training400/Glaucoma",
    "n": "Training400/Non-Glaucoma",
    "V": "REFUGE-Validation400",
    "T": "Test400",
}
"""Where an image that is gone should be."""

NAME = re.compile(r"[gnVT]\d{4}")
LABEL_COLUMNS = ("Label(Glaucoma=1)", "Glaucoma Label")
CUP, DISC = (0, 0), (0, 254)
LEVELS = (0, 128, 255)


def read(root: Path) -> Iterator[Record]:
    """Records in the order training, validation, test, by name.

    Args:
        root: Folder that holds the official archives, unpacked.

    Raises:
        DatasetNotFoundError: If no image is there.
        DependencyNotFoundError: If there are spreadsheets and openpyxl is missing.
    """
    images, masks = _named(root, ".jpg"), _named(root, ".bmp")
    if not images:
        what = "g####.jpg, n####.jpg, V####.jpg or T####.jpg of REFUGE"
        raise without(what, root, "unpack the official archives there")
    glaucoma, fovea = _sheets(root)
    ordered = sorted(
        {*images, *masks, *glaucoma}, key=lambda uid: ("gnVT".index(uid[0]), uid)
    )
    unknown = [uid for uid in ordered if uid[0] in "VT" and uid not in glaucoma]
    if unknown:
        logger.warning(
            "REFUGE: no glaucoma label for %d validation or test images: no spreadsheet "
            "below %s lists them",
            len(unknown),
            root,
        )
    for row, uid in enumerate(ordered, 2):
        kind = uid[0]
        label = float(kind == "g") if kind in "gn" else glaucoma.get(uid, float("nan"))
        mask = masks.get(uid)
        yield Record(
            uid=uid,
            image=images.get(uid, root / FOLDERS[kind] / f"{uid}.jpg"),
            split=SPLITS[kind],
            labels=(label,),
            masks=()
            if mask is None
            else (
                MaskRef("optic disc", "file", mask, DISC, levels=LEVELS),
                MaskRef("optic cup", "file", mask, CUP, levels=LEVELS),
            ),
            row=row,
            facts={
                "device": "Zeiss Visucam 500" if kind in "gn" else "Canon CR-2",
                "fovea": fovea.get(uid),
            },
        )


def _named(root: Path, suffix: str) -> dict[str, Path]:
    return {
        path.stem: path
        for path in sorted(root.rglob("*"), reverse=True)
        if path.suffix.lower() == suffix and NAME.fullmatch(path.stem)
    }


def _sheets(root: Path) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Glaucoma and fovea by image, from all spreadsheets there are."""
    glaucoma: dict[str, float] = {}
    fovea: dict[str, tuple[float, float]] = {}
    for path in sorted(root.rglob("*[Ff]ovea_location*.xlsx")):
        for row in read_rows(path, ["ImgName", "Fovea_X", "Fovea_Y"]):
            uid = bare(row["ImgName"])
            if NAME.fullmatch(uid):
                x, y = row.numbers("Fovea_X", "Fovea_Y")
                fovea[uid] = (x, y)
                if column := next((name for name in LABEL_COLUMNS if name in row), ""):
                    glaucoma[uid] = number(row[column])
    return glaucoma, fovea


CARD = Card(
    name="refuge",
    title="REFUGE",
    domain="fundus",
    read=read,
    label_names=("glaucoma",),
    gives=("labels", "masks"),
    patients="none",
    markers=("*Training400*", "REFUGE*"),
    access="registration with the challenge",
    licence="terms of the challenge; research use",
    citation="Orlando et al., REFUGE Challenge, Medical Image Analysis 2020",
    splits={
        "official": released(
            "training, validation and test images of REFUGE",
            "download the test set too, or use --data.split canonical",
            level="image",
            source="the challenge: 400 images each",
            counts={"train": 400, "val": 400, "test": 400},
            issues=("training images are of another camera than the others",),
        ),
    },
)
