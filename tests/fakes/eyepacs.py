"""EyePACS as Kaggle packs it: six patients to train on, four to test."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.photographs import cut, paint

__all__ = ["BROKEN", "write_eyepacs"]

BROKEN = "13_left"
"""A JPEG cut in the middle."""

TRAIN = [(10, 0, 0), (13, 0, 0), (15, 1, 2), (16, 4, 4), (17, 0, 1), (19, 0, 0)]
TEST = [(1, 0, 0, "Private"), (2, 3, 2, "Public"), (3, 0, 1, "Private")]


def write_eyepacs(root: Path, *, faults: bool = True) -> None:
    """Write the data set."""
    lines = ["image,level"]
    for patient, left, right in TRAIN:
        for eye, level in (("left", left), ("right", right)):
            path = root / "train" / f"{patient}_{eye}.jpeg"
            paint(path, 2 * patient + (eye == "right"))
            if faults and path.stem == BROKEN:
                cut(path)
            lines.append(f"{patient}_{eye},{level}")
    (root / "trainLabels.csv").write_text("\n".join(lines) + "\n")
    lines = ["image,level,Usage"]
    for patient, left, right, usage in TEST:
        for eye, level in (("left", left), ("right", right)):
            paint(root / "test" / f"{patient}_{eye}.jpeg", 100 + 2 * patient)
            lines.append(f"{patient}_{eye},{level},{usage}")
    (root / "retinopathy_solution.csv").write_text("\n".join(lines) + "\n")
