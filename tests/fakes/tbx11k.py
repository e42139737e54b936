"""TBX11K in the layout of the release and of the simplified pack on Kaggle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["BROKEN", "write_tbx11k", "write_tbx11k_simplified"]

BROKEN = "sick/s0002.png"
"""A PNG cut in the middle; ``s0002.png`` in the simplified pack."""

IMAGES: list[tuple[str, str, list[tuple[int, list[float]]]]] = [
    ("train", "health/h0001.png", []),
    ("train", "sick/s0001.png", []),
    ("train", "tb/tb0001.png", [(1, [10.5, 12, 20, 8.5])]),
    # Both kinds in one image, as in the release.
    ("train", "tb/tb0002.png", [(1, [4, 4, 10, 10]), (2, [20, 20, 12, 16])]),
    ("train", "health/h0003.png", []),
    ("val", "health/h0002.png", []),
    ("val", "sick/s0002.png", []),
    ("val", "tb/tb0003.png", [(2, [5, 6, 7, 8])]),
    # Ill, but without a box: the release has one such image.
    ("val", "tb/tb0004.png", []),
]
"""Split, file and boxes (category, x, y, width, height)."""

CATEGORIES = {
    1: "ActiveTuberculosis",
    2: "ObsoletePulmonaryTuberculosis",
    3: "PulmonaryTuberculosis",
}


def write_image(path: Path, seed: int, cut: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48), np.uint8)
    # The files are colour pictures of grey images.
    Image.fromarray(pixels).convert("RGB").save(path)
    if cut:
        path.write_bytes(path.read_bytes()[:-60])


def write_tbx11k(root: Path, *, faults: bool = True) -> None:
    """Write the release: nine images, two test images and one of the extra sets."""
    folder = root / "annotations" / "json"
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val"):
        content: dict[str, Any] = {
            "images": [],
            "annotations": [],
            "categories": [
                {"id": i, "name": name, "supercategory": "Tuberculosis"}
                for i, name in CATEGORIES.items()
            ],
        }
        for number, (named, file, boxes) in enumerate(IMAGES, 1):
            if named != split:
                continue
            write_image(root / "imgs" / file, number, faults and file == BROKEN)
            content["images"].append(
                {"id": number, "file_name": file, "width": 48, "height": 48}
            )
            for category, box in boxes:
                content["annotations"].append(
                    {
                        "id": len(content["annotations"]) + 1,
                        "image_id": number,
                        "category_id": category,
                        "bbox": box,
                        "area": box[2] * box[3],
                        "iscrowd": 0,
                    }
                )
        (folder / f"TBX11K_{split}.json").write_text(json.dumps(content))
    write_image(root / "imgs" / "test" / "00001.png", 50, False)
    write_image(root / "imgs" / "test" / "00002.png", 51, False)
    write_image(root / "imgs" / "extra" / "da+db" / "train" / "p1.png", 52, False)


def write_tbx11k_simplified(root: Path, *, faults: bool = True) -> None:
    """Write Kaggle's pack: the same images in one folder, one row per box."""
    lines = ["fname,image_height,image_width,source,bbox,target,tb_type,image_type"]
    kinds = {1: "active_tb", 2: "latent_tb"}
    for number, (split, file, boxes) in enumerate(IMAGES, 1):
        folder, name = file.split("/")
        write_image(root / "images" / name, number, faults and file == BROKEN)
        start = f"{name},48,48,{split}"
        stated = {"health": "healthy", "sick": "sick_but_no_tb", "tb": "tb"}[folder]
        for category, (x, y, w, h) in boxes:
            cell = str({"xmin": x, "ymin": y, "width": w, "height": h})
            lines.append(f'{start},"{cell}",tb,{kinds[category]},{stated}')
        if not boxes:
            target = "tb" if folder == "tb" else "no_tb"
            lines.append(f"{start},none,{target},none,{stated}")
    (root / "data.csv").write_text("\n".join(lines) + "\n")
