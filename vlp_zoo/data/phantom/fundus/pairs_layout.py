"""The fundus world as a folder of images, masks and one ``pairs.csv``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from vlp_zoo.data.phantom.chest.mimic_layout import JPEG_QUALITY, split_sizes
from vlp_zoo.data.phantom.folder import prepare_folder, write_atomically
from vlp_zoo.data.phantom.fundus.facts import LABELS
from vlp_zoo.data.phantom.fundus.source import SPLITS, VERSION, PhantomFundusSource
from vlp_zoo.types import Study

__all__ = ["PAIR_COLUMNS", "write_pairs_layout"]

FACTS = ("eye", "age", "sex", "dr_grade", "cup_disc_ratio", "quality", "camera")

PAIR_COLUMNS = (
    "image",
    "indication",
    "comparison",
    "findings",
    "impression",
    "patient_id",
    "study_id",
    "split",
    "boxes",
    "masks",
    *FACTS,
    *(f"label_{label.replace(' ', '_').replace('-', '_')}" for label in LABELS),
)


def _write_masks(out: Path, study: Study) -> dict[str, str]:
    """One PNG of 0 and 255 for each mask; returns name to path within the folder."""
    paths = {}
    for name, mask in study.masks.items():
        paths[name] = f"masks/{name.replace(' ', '_')}/{study.uid}.png"
        _, png = cv2.imencode(".png", mask.astype(np.uint8) * 255)
        write_atomically(out / paths[name], png.tobytes())
    return paths


def write_pairs_layout(
    out: Path,
    studies: int,
    seed: int = 0,
    image_size: int = 224,
    eyes: str = "one",
    overwrite: bool = False,
    advance: Callable[[int, int], None] | None = None,
) -> int:
    """Write ``images/*.jpg``, ``masks/NAME/*.png`` and ``pairs.csv``.

    Boxes and paths of masks are JSON in their columns; blank labels are uncertain.

    Args:
        out: New or empty folder, or an earlier phantom with ``overwrite``.
        studies: Visits of all splits together.
        seed: Seed of the phantom world.
        image_size: Side in pixels.
        eyes: ``"one"`` or ``"both"``.
        overwrite: Whether an earlier phantom may be replaced.
        advance: Called with images written and images in all.

    Returns:
        Number of images.

    Raises:
        ConfigError: If the folder holds something else.
    """
    sizes = split_sizes(studies)
    sources = [
        PhantomFundusSource(split, sizes[split], seed, image_size, eyes)
        for split in SPLITS
    ]
    card = {
        "layout": "pairs",
        "world": f"phantom fundus {VERSION}",
        "studies": sum(sizes.values()),
        "seed": seed,
        "image_size": image_size,
        "eyes": eyes,
    }
    prepare_folder(out, card, ("images", "masks", "pairs.csv"), overwrite)
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
                ".jpg",
                cv2.cvtColor(study.image, cv2.COLOR_RGB2BGR),
                [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY],
            )
            write_atomically(out / name, jpeg.tobytes())
            boxes = [
                {
                    "name": box.name,
                    "kind": box.kind,
                    "xyxy": np.round(box.xyxy, 1).tolist(),
                }
                for box in study.boxes
            ]
            labels = [
                "" if np.isnan(value) else f"{value:.0f}" for value in study.labels
            ]
            table.writerow(
                [
                    name,
                    study.report.indication,
                    study.report.comparison,
                    study.report.findings,
                    study.report.impression,
                    study.patient_id,
                    study.study_id,
                    source.split,
                    json.dumps(boxes),
                    json.dumps(_write_masks(out, study)),
                    *(study.facts[fact] for fact in FACTS),
                    *labels,
                ]
            )
            done += 1
            if advance:
                advance(done, total)
    write_atomically(out / "pairs.csv", text.getvalue().encode())
    return total
