"""A folder of small images with a table, good or with one fault per row."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["FAULTS", "write_faulty_pairs", "write_image", "write_pairs"]

Rows = list[dict[str, str]]


def write_image(path: Path, seed: int, size: tuple[int, int] = (24, 32)) -> None:
    """A noise image; noise, so that cutting the file loses something."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_table(path: Path, rows: Rows) -> Path:
    """The rows as CSV, with the union of their columns."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def pair(folder: Path, i: int) -> dict[str, str]:
    image = f"images/{i:03d}.jpg"
    write_image(folder / image, i)
    return {
        "image": image,
        "patient_id": f"p{i // 2}",
        "study_id": f"s{i}",
        "view": ("PA", "Lateral")[i % 2],
        "findings": f"Finding number {i}, with a comma.",
        "impression": 'Quoted "words".',
        "label_effusion": ("1", "0", "")[i % 3],
        "label_edema": ("0.0", "-1.0", "nan")[i % 3],
        "boxes": '[{"name": "heart", "xyxy": [2, 3, 10, 12]}]' if i % 2 == 0 else "",
    }


def write_pairs(folder: Path, n: int = 12) -> tuple[Path, Rows]:
    """``n`` rows without fault, two images per patient."""
    rows = [pair(folder, i) for i in range(n)]
    return write_table(folder / "pairs.csv", rows), rows


FAULTS = [
    "missing",
    "empty",
    "truncated",
    "undecodable",
    "empty_report",
    "bad_boxes",
    "nan_box",
    "inverted_box",
    "outside_box",
    "duplicate",
]


def write_faulty_pairs(folder: Path, good: int = 6) -> Path:
    """``good`` rows, then one row for each of `FAULTS`."""
    rows = [pair(folder, i) for i in range(good + len(FAULTS))]
    bad = dict(zip(FAULTS, rows[good:], strict=True))
    (folder / bad["missing"]["image"]).unlink()
    (folder / bad["empty"]["image"]).write_bytes(b"")
    whole = folder / bad["truncated"]["image"]
    whole.write_bytes(whole.read_bytes()[:-200])
    (folder / bad["undecodable"]["image"]).write_text("a page that says 404")
    bad["empty_report"] |= {"findings": " ", "impression": ""}
    bad["bad_boxes"]["boxes"] = "[1, 2"
    bad["nan_box"]["boxes"] = "[[1, 2, NaN, 4]]"
    bad["inverted_box"]["boxes"] = "[[5, 2, 3, 4]]"
    bad["outside_box"]["boxes"] = "[[5, 2, 33, 4]]"
    bad["duplicate"]["image"] = rows[0]["image"]
    return write_table(folder / "pairs.csv", rows)
