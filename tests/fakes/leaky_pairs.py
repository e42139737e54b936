"""A table of drawn radiographs in which every fault of an audit was planted once."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vlp_zoo.data.phantom.chest.source import PhantomChestSource

__all__ = ["PLANTED", "Row", "write_clean_pairs", "write_leaky_pairs"]

Pixels = npt.NDArray[np.uint8]
Row = dict[str, str]

PLANTED = {
    "exact": ("train/00.png", "test/exact.png"),
    "jpeg": ("train/01.png", "test/jpeg.jpg"),
    "resized": ("train/02.png", "val/resized.png"),
    "mirrored": ("train/03.png", "test/mirrored.png"),
    "cropped": ("train/04.png", "test/cropped.png"),
    "padded": ("train/05.png", "train/padded.png"),
    "disputed": ("train/06.png", "train/disputed.jpg"),
}
"""Name of a fault to (the image, its copy); the folder is the split."""

SIDE = 224


def write_clean_pairs(folder: Path, *, studies: int = 14) -> tuple[Path, list[Row]]:
    """A table without fault; splits are of different patients."""
    rows = []
    for split in ("train", "val", "test"):
        count = studies if split == "train" else studies // 2
        source = PhantomChestSource(split, count, image_size=SIDE)
        for i in range(len(source)):
            name = f"{split}/{i:02d}.png"
            _save(folder / name, source[i].image)
            rows.append(
                {
                    "image": name,
                    "patient_id": source.patient_ids[i],
                    "study_id": source.study_ids[i],
                    "split": split,
                    "label_edema": str(i % 2),
                }
            )
    return _table(folder, rows), rows


def write_leaky_pairs(folder: Path, *, studies: int = 14) -> tuple[Path, list[Row]]:
    """The same with the copies of `PLANTED`, a shared patient and two broken files.

    The first validation image belongs to the first training patient, training image 12
    is missing and validation image 5 is cut in the middle.
    """
    _, rows = write_clean_pairs(folder, studies=studies)
    by_name = {row["image"]: row for row in rows}
    for i, (fault, (name, copy)) in enumerate(PLANTED.items()):
        pixels = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
        assert pixels is not None
        _save(folder / copy, _changed(fault, np.asarray(pixels, np.uint8)))
        rows.append(
            {
                "image": copy,
                "patient_id": f"copy {i}",
                "study_id": f"copy {i}",
                "split": copy.partition("/")[0],
                "label_edema": by_name[name]["label_edema"],
            }
        )
    rows[-1]["label_edema"] = str(1 - int(rows[-1]["label_edema"]))
    by_name["val/00.png"]["patient_id"] = by_name["train/00.png"]["patient_id"]
    (folder / "train/12.png").unlink()
    whole = folder / "val/05.png"
    whole.write_bytes(whole.read_bytes()[:-2000])
    return _table(folder, rows), rows


def _changed(fault: str, pixels: Pixels) -> Pixels:
    if fault == "resized":
        return np.asarray(
            cv2.resize(pixels, (140, 140), interpolation=cv2.INTER_LINEAR), np.uint8
        )
    if fault == "mirrored":
        return np.ascontiguousarray(pixels[:, ::-1])
    if fault == "cropped":
        margin = round(0.09 * SIDE)
        return np.ascontiguousarray(pixels[margin:-margin, margin:-margin])
    if fault == "padded":
        return np.asarray(
            cv2.copyMakeBorder(pixels, 0, 0, 40, 40, cv2.BORDER_CONSTANT, value=0),
            np.uint8,
        )
    return pixels


def _save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 60] if path.suffix == ".jpg" else []
    assert cv2.imwrite(str(path), pixels, quality)


def _table(folder: Path, rows: list[Row]) -> Path:
    path = folder / "pairs.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
