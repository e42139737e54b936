"""Public small sets of real patients as tables that ``--data pairs`` reads.

A folder holds ``cxr_text`` (Open-i: radiographs with reports and labels), ``cxr_cls``
(pneumonia of children), ``cxr_masks`` (lungs), ``cxr_vqa`` (questions of VQA-RAD),
``fundus_cls`` (diagnoses) and ``fundus_seg`` (optic discs), each a table beside its
images. Nothing is fetched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["SMALL", "SPLIT", "eyes", "masks", "suites"]

SPLIT = {"val_fraction": 0.06, "test_fraction": 0.34}
"""Shares of the patients of Open-i, for training and for evaluation."""

SMALL = {"val_fraction": 0.2, "test_fraction": 0.4}
"""Shares of the patients of the smaller sets."""


def masks(pack: Path, structure: str, to: Path, **only: str) -> Path:
    """Write the table of images that have a mask of one structure.

    Args:
        pack: With ``images.csv`` and ``masks.csv``.
        structure: One of ``class_name``.
        to: The table.
        only: Values that columns of ``images.csv`` must have.
    """
    rows = pd.read_csv(pack / "masks.csv", dtype=str)
    rows = rows[rows["class_name"] == structure]
    of = dict(zip(rows["image"], rows["mask"], strict=True))
    images = pd.read_csv(pack / "images.csv", dtype=str)
    for column, value in only.items():
        images = images[images[column] == value]
    images = images[images["image"].isin(list(of))]
    marked = [
        {
            "image": pack / image,
            "patient_id": patient,
            "masks": json.dumps({structure: str(pack / of[image])}),
        }
        for image, patient in zip(images["image"], images["patient_id"], strict=True)
    ]
    pd.DataFrame(marked).to_csv(to, index=False)
    return to


def eyes(pack: Path, to: Path) -> Path:
    """Write the table of fundus photographs with diagnoses, as labels and in words."""
    path = pack / "labels.csv"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows["image"] = [str(pack / name) for name in rows["image"]]
    rows["report"] = rows.pop("label_text")
    rows.to_csv(to, index=False)
    return to


def suites(root: Path, to: Path) -> dict[str, Path]:
    """Write the tables and a suite of each kind of image.

    Args:
        root: Folder of the small sets.
        to: Where tables and suites go.

    Returns:
        The suites ``"chest"`` and ``"fundus"``.
    """
    to.mkdir(parents=True, exist_ok=True)
    lungs = masks(root / "cxr_masks", "lungs_v7", to / "lungs.csv")
    photographs = eyes(root / "fundus_cls", to / "eyes.csv")
    discs = masks(root / "fundus_seg", "optic_disc", to / "discs.csv", source="IDRiD")
    pairs = root / "cxr_text" / "pairs.csv"
    children = root / "cxr_cls" / "labels.csv"
    questions = root / "cxr_vqa" / "qa.csv"
    marked = ["vlp-seg-linear-quick"]
    findings = {"views": ["FRONTAL"], **SPLIT}
    tasks: dict[str, list[dict[str, Any]]] = {
        "chest": [
            {**_task("openi findings", pairs, findings, ["vlp-linear"]), **_SHARES},
            _task(
                *("openi findings", pairs, findings),
                ["vlp-knn", "vlp-zeroshot", "vlp-retrieval"],
            ),
            _task("pneumonia of children", children, SMALL, ["vlp-linear"]),
            _task("lungs", lungs, SMALL, marked),
            {**_task("questions", questions, SMALL, ["vlp-vqa"]), "data": "vqa"},
        ],
        "fundus": [
            _task(
                *("diagnoses", photographs, {"colour": True, **SMALL}),
                ["vlp-linear", "vlp-knn"],
            ),
            _task("optic disc", discs, {"colour": True, **SMALL}, marked),
        ],
    }
    found = {}
    for kind, parts in tasks.items():
        found[kind] = to / f"real-{kind}.yaml"
        suite = {"summary": f"public small sets, {kind}", "tasks": parts}
        found[kind].write_text(json.dumps(suite, indent=1) + "\n")
    return found


_SHARES = {"fractions": [0.1, 1.0], "seeds": [0, 1, 2]}


def _task(
    name: str, table: Path, options: Mapping[str, Any], presets: list[str]
) -> dict[str, Any]:
    options = {"root": str(table), **options}
    return {"name": name, "data": "pairs", "options": options, "presets": presets}
