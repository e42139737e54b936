"""FFA-IR in its layout: six cases with two frames each."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes.photographs import cut, paint

__all__ = ["BROKEN", "write_ffa_ir"]

BROKEN = "case_3/2"
"""A JPEG cut in the middle."""

CASES = {
    "train": ["case_1", "case_3", "case_4"],
    "val": ["case_2"],
    "test": ["case_5", "case_6"],
}


def write_ffa_ir(root: Path, *, folder: str = "FFAIR", faults: bool = True) -> None:
    """Write the data set.

    Args:
        root: Folder to fill.
        folder: What the paths of the frames are relative to.
        faults: Cut one frame.
    """
    annotation: dict[str, dict[str, object]] = {}
    for part, cases in CASES.items():
        annotation[part] = {}
        for case in cases:
            frames = [f"{case}/{number}.jpg" for number in (1, 2)]
            for frame in frames:
                paint(root / folder / frame, hash_of(frame))
                if faults and frame == f"{BROKEN}.jpg":
                    cut(root / folder / frame)
            annotation[part][case] = {
                "En_Report": f"Fluorescence is blocked in {case}: laser spots.\n",
                "Ch_Report": "\u8367\u5149\u906e\u853d",
                "Image_path": frames,
            }
    text = json.dumps(annotation, ensure_ascii=False)
    (root / "ffair_annotation.json").write_text(text, encoding="utf-8")
    boxes = {"case_1/1.jpg": [["1", "0", "0", "9", "9"]]}
    (root / "lesion_info.json").write_text(json.dumps(boxes))


def hash_of(name: str) -> int:
    """A seed that hangs on the name alone, in every process."""
    return sum(map(ord, name))
