"""IDRiD: 516 graded fundus photographs, 81 with lesions and optic disc outlined.

Layout; every part may lie in a folder of its own name, and ``%20`` may stand for blanks,
as some programs unpack it::

    A. Segmentation/
        1. Original Images/{a. Training Set,b. Testing Set}/IDRiD_##.jpg
        2. All Segmentation Groundtruths/{a. Training Set,b. Testing Set}/
            {1. Microaneurysms,2. Haemorrhages,3. Hard Exudates,4. Soft Exudates,
             5. Optic Disc}/IDRiD_##_{MA,HE,EX,SE,OD}.tif
    B. Disease Grading/
        1. Original Images/{a. Training Set,b. Testing Set}/IDRiD_###.jpg
        2. Groundtruths/{a. IDRiD_Disease Grading_Training Labels.csv,
                         b. IDRiD_Disease Grading_Testing Labels.csv}
    C. Localization/2. Groundtruths/{1. Optic Disc Center Location,
                                     2. Fovea Center Location}/*.csv

Either of A and B may be missing; C has the images of B and adds to their facts
``optic_disc`` and ``fovea``, ``(x, y)`` in pixels.

Labels: of part B one column per grade of the international scale
(`photographs.GRADES`), and the risk of macular edema (0 to 2) in
``facts["macular_edema"]``; images of part A have none (NaN). Masks: of part A. Where a
lesion was looked for and not found there is no file: that is an empty mask, not an
unknown one.

Splits: ``official`` are the released ones of A (54 and 27) and B (413 and 103),
validation images drawn from training; ``grading`` and ``segmentation`` keep one part
only, which is what should be compared. There are no patient ids. Training image 118 of
part B is test image 064: the two count as one patient, so that ``canonical`` keeps them
together. Training images 021 and 391, 028 and 327, 045 and 333 (with different grades)
and 279 and 375 are pairs too, and most images of A show an eye of B.

Access: open download, IEEE DataPort. Cite Porwal et al., "Indian Diabetic Retinopathy
Image Dataset (IDRiD)", Data 3(3):25, 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlp_zoo.data.fundus.photographs import GRADES, Photographs, bare, one_hot
from vlp_zoo.data.records import Card, MaskRef, Record, SplitRule
from vlp_zoo.data.splits import released_split
from vlp_zoo.data.tables import number, read_rows, without

__all__ = ["CARD", "LESIONS", "read"]

LESIONS = {
    "MA": "microaneurysm",
    "HE": "haemorrhage",
    "EX": "hard exudate",
    "SE": "soft exudate",
    "OD": "optic disc",
}
"""End of the mask files to name of the mask."""

SETS = {"train": "a. training set", "test": "b. testing set"}
TWINS = {"grading/test/IDRiD_064": "grading/train/IDRiD_118"}
"""The same photograph in training and test set of part B."""


def read(root: Path) -> Iterator[Record]:
    """Records of part B in the order of its tables, then part A in the order of names.

    Args:
        root: Folder that holds ``A. Segmentation``, ``B. Disease Grading`` or both.

    Raises:
        DatasetNotFoundError: If neither is there, or a table, a column or the images of
            one that is there are missing.
    """
    parts = {
        name: _below(root, name)
        for name in ("a. segmentation", "b. disease grading", "c. localization")
    }
    grading, segmentation = parts["b. disease grading"], parts["a. segmentation"]
    if grading is None and segmentation is None:
        raise without("'A. Segmentation' or 'B. Disease Grading' of IDRiD", root)
    if grading is not None:
        yield from _grading(grading, _centres(parts["c. localization"]))
    if segmentation is not None:
        yield from _segmentation(segmentation)


def _plain(name: str) -> str:
    return " ".join(name.replace("%20", " ").replace("_", " ").lower().split())


def _below(folder: Path | None, *names: str) -> Path | None:
    """A folder or file down there, blanks and doubled folders put right; None if not."""
    for name in names:
        if folder is None or not folder.is_dir():
            return None
        wanted = _plain(name)
        found = next(
            (p for p in sorted(folder.iterdir()) if _plain(p.name) == wanted), None
        )
        inner = _below(found, name) if found is not None and found.is_dir() else None
        folder = inner or found
    return folder


def _photographs(part: Path, split: str) -> tuple[Photographs, Path]:
    folder = _below(part, "1. original images", SETS[split])
    if folder is None:
        what = f"'1. Original Images/{SETS[split]}'"
        raise without(what, part, "unpack the official archive there")
    return Photographs([folder]), folder


def _grading(part: Path, centres: dict[str, dict[str, Any]]) -> Iterator[Record]:
    for split, letter, word in (("train", "a", "training"), ("test", "b", "testing")):
        name = f"{letter}. IDRiD_Disease Grading_{word.title()} Labels.csv"
        path = _below(part, "2. groundtruths", name) or part / "2. Groundtruths" / name
        # "Risk of macular edema " has a blank behind it, and empty columns may follow.
        rows = read_rows(path, ["Image name", "Retinopathy grade"])
        images, folder = _photographs(part, split)
        for row in rows:
            stem, grade = bare(row["Image name"]), row["Retinopathy grade"]
            if not stem:
                continue
            uid = f"grading/{split}/{stem}"
            yield Record(
                uid=uid,
                image=images.find(stem) or folder / f"{stem}.jpg",
                patient_id=TWINS.get(uid, uid),
                split=split,
                labels=one_hot(grade, len(GRADES), row.where),
                row=row.line,
                facts={
                    "part": "grading",
                    "grade": number(grade),
                    "macular_edema": number(row.get("Risk of macular edema")),
                    **centres.get(uid, {}),
                },
            )


def _centres(part: Path | None) -> dict[str, dict[str, Any]]:
    """What part C knows of the images of part B, by uid; nothing without it."""
    centres: dict[str, dict[str, Any]] = {}
    folder = _below(part, "2. groundtruths")
    if folder is None:
        return centres
    for path in sorted(folder.rglob("*.csv")):
        place = "fovea" if "fovea" in path.name.lower() else "optic_disc"
        split = "train" if "training" in path.name.lower() else "test"
        for row in read_rows(path):
            # "X- Coordinate" and "Y - Coordinate"; blank lines follow the last image.
            name, x, y = (cell.strip() for cell in row.cells[:3])
            if name:
                uid = f"grading/{split}/{bare(name)}"
                centres.setdefault(uid, {})[place] = (number(x), number(y))
    return centres


def _segmentation(part: Path) -> Iterator[Record]:
    row = 1
    for split, name in SETS.items():
        images, folder = _photographs(part, split)
        truth = _below(part, "2. all segmentation groundtruths", name)
        lesions = _lesion_folders(truth)
        # An image that is gone shows by its masks.
        outlined = {
            path.stem.rpartition("_")[0]
            for lesion in lesions.values()
            for path in lesion.glob("IDRiD_*.tif")
        }
        for stem in sorted({*images.names(), *outlined}):
            row += 1
            uid = f"segmentation/{split}/{stem}"
            yield Record(
                uid=uid,
                image=images.find(stem) or folder / f"{stem}.jpg",
                split=split,
                labels=(float("nan"),) * len(GRADES),
                masks=tuple(
                    _mask(LESIONS[code], lesion / f"{stem}_{code}.tif")
                    for code, lesion in lesions.items()
                ),
                row=row,
                facts={"part": "segmentation"},
            )


def _lesion_folders(truth: Path | None) -> dict[str, Path]:
    names = ("microaneurysms", "haemorrhages", "hard exudates", "soft exudates")
    folders = {}
    for place, (code, name) in enumerate(
        zip(LESIONS, (*names, "optic disc"), strict=True), 1
    ):
        folder = _below(truth, f"{place}. {name}")
        if folder is not None:
            folders[code] = folder
    return folders


def _mask(name: str, path: Path) -> MaskRef:
    if path.is_file():
        return MaskRef(name, "file", path, two_valued=True)
    return MaskRef(name, "rle_relative", "-1")


def _rule(*parts: str) -> Callable[[Sequence[Record]], list[str]]:
    released = released_split(
        "the training and testing sets of IDRiD", "download both, unchanged"
    )

    def assign(records: Sequence[Record]) -> list[str]:
        # Every image for itself: the published sets part the two twins.
        kept = [
            replace(
                r, patient_id=r.uid, split=r.split if r.facts["part"] in parts else ""
            )
            for r in records
        ]
        return released(kept)

    return assign


TWIN = "training image 118 of part B is its test image 064"
ISSUES = (TWIN, "there are no patient ids, and part B has more repeated photographs")

CARD = Card(
    name="idrid",
    title="IDRiD",
    domain="fundus",
    read=read,
    label_names=GRADES,
    gives=("labels", "masks"),
    patients="none",
    markers=("A.*Segmentation*", "B.*Disease*Grading*"),
    access="open download, IEEE DataPort",
    licence="CC BY 4.0",
    citation="Porwal et al., Indian Diabetic Retinopathy Image Dataset, Data 2018",
    splits={
        "official": SplitRule(
            _rule("grading", "segmentation"),
            level="image",
            source="released sets of parts A and B; validation by the canonical rule",
            issues=(
                *ISSUES,
                "most images of part A show an eye of part B, some on the other side",
            ),
            legacy=True,
        ),
        "grading": SplitRule(
            _rule("grading"),
            level="image",
            source="released sets of part B; validation by the canonical rule",
            issues=ISSUES,
            legacy=True,
        ),
        "segmentation": SplitRule(
            _rule("segmentation"),
            level="image",
            source="released sets of part A; validation by the canonical rule",
            issues=("there are no patient ids",),
        ),
    },
    single_label=True,
    ordinal=True,
    overlaps=("flair",),
)
