"""The chest world as a folder of images and one ``pairs.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from vlp_zoo.data.phantom.chest.facts import LABELS
from vlp_zoo.data.phantom.chest.mimic_layout import JPEG_QUALITY, split_sizes
from vlp_zoo.data.phantom.chest.source import SPLITS, VERSION, PhantomChestSource
from vlp_zoo.data.phantom.folder import prepare_folder, write_atomically

__all__ = ["PAIR_COLUMNS", "write_pairs_layout"]

PAIR_COLUMNS = (
    "image",
    "findings",
    "impression",
    "patient_id",
    "view",
    "split",
    *(f"label_{label.lower().replace(' ', '_')}" for label in LABELS),
)


def write_pairs_layout(
    out: Path,
    studies: int,
    seed: int = 0,
    image_size: int = 224,
    views: str = "frontal",
    overwrite: bool = False,
    advance: Callable[[int, int], None] | None = None,
) -> int:
    """Write ``images/*.jpg`` and ``pairs.csv``; blank labels are uncertain.

    Arguments, result and errors are those of `mimic_layout.write_mimic_layout`.
    """
    sizes = split_sizes(studies)
    sources = [
        PhantomChestSource(split, sizes[split], seed, image_size, views)
        for split in SPLITS
    ]
    card = {
        "layout": "pairs",
        "world": f"phantom chest {VERSION}",
        "studies": sum(sizes.values()),
        "seed": seed,
        "image_size": image_size,
        "views": views,
    }
    prepare_folder(out, card, ("images", "pairs.csv"), overwrite)
    total = sum(len(source) for source in sources)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(PAIR_COLUMNS)
    done = 0
    for source in sources:
        for index in range(len(source)):
            study = source[index]
            name = f"images/{study.uid}.jpg"
            _, jpeg = cv2.imencode(
                ".jpg", study.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            )
            write_atomically(out / name, jpeg.tobytes())
            labels = [
                "" if np.isnan(value) else f"{value:.0f}" for value in study.labels
            ]
            table.writerow(
                [
                    name,
                    study.report.findings,
                    study.report.impression,
                    study.patient_id,
                    study.view,
                    source.split,
                    *labels,
                ]
            )
            done += 1
            if advance:
                advance(done, total)
    write_atomically(out / "pairs.csv", text.getvalue().encode())
    return total
