"""Small real data sets, read where they lie: tables, images, masks, boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import require_shared
from vlp_zoo.bench.tasks import build_task
from vlp_zoo.cli import main
from vlp_zoo.data.datamodules import Pairs
from vlp_zoo.evaluation.results import ResultStore
from vlp_zoo.evaluation.tasks import SPLITS, Task


def table_of(pack: str, table: str, folder: Path) -> Path:
    """The pack's table with paths that hold anywhere, and without its texts of labels."""
    path = require_shared("realdata", pack, table)
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows["image"] = [str(path.parent / name) for name in rows["image"]]
    copy = folder / f"{pack}.csv"
    rows.drop(columns="label_text", errors="ignore").to_csv(copy, index=False)
    return copy


def images_of(task: Task) -> int:
    return sum(len(task.splits[split]) for split in SPLITS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pack", "table", "images", "colour"),
    [
        ("cxr_text", "pairs.csv", 2524, False),
        ("cxr_notes", "notes.csv", 267, False),
        ("cxr_nih64", "labels.csv", 739, False),
        ("cxr_cls", "labels.csv", 348, False),
        ("fundus_cls", "labels.csv", 437, True),
    ],
)
def test_labelled_packs_are_tasks_with_nobody_on_two_sides(
    pack: str,
    table: str,
    images: int,
    colour: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path))
    path = table_of(pack, table, tmp_path)
    task = build_task(f"pairs:{path}", colour=colour, min_positives=1)
    assert images_of(task) <= images
    assert images_of(task) > images * 0.9
    study = task.splits["train"][0]
    assert study.image.ndim == (3 if colour else 2)
    assert ("reports" in task.gives) == (pack == "cxr_text")


def test_real_masks_come_through_a_table(tmp_path: Path) -> None:
    folder = require_shared("realdata", "fundus_seg")
    images = pd.read_csv(folder / "images.csv", dtype=str)
    masks = pd.read_csv(folder / "masks.csv", dtype=str)
    of = {
        name: {r["class_name"]: str(folder / r["mask"]) for _, r in rows.iterrows()}
        for name, rows in masks.groupby("image")
    }
    table = pd.DataFrame(
        {
            "image": [str(folder / name) for name in images["image"]],
            "patient_id": images["patient_id"],
            "masks": [json.dumps(of.get(name, {})) for name in images["image"]],
        }
    )
    table.to_csv(tmp_path / "masks.csv", index=False)
    module = Pairs(str(tmp_path / "masks.csv"), reports=False, colour=True)
    found = 0
    for source in module.sources.values():
        for i in range(len(source)):
            study = source[i]
            name = f"images/{Path(study.uid).name}"
            for mask, pixels in study.masks.items():
                row = masks[(masks["image"] == name) & (masks["class_name"] == mask)]
                area = float(row["area_frac"].iloc[0])
                assert pixels.mean() == pytest.approx(area, abs=2e-6)
                found += 1
    assert found == len(masks) == 323


@pytest.mark.slow
def test_a_probe_on_real_photographs_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))
    path = table_of("fundus_cls", "labels.csv", tmp_path)
    words = ["bench", "--encoder", "random:micro", "--task", f"pairs:{path}"]
    options = ["--colour", "--out", str(tmp_path / "out"), "--bootstrap", "50"]
    assert main([*words, *options, "--min-positives", "3", "--num-workers", "0"]) == 0
    rows = ResultStore(tmp_path / "out").read()
    found = {r.encoder: r.value for r in rows if r.metric == "macro_auroc"}
    # Colour and brightness alone tell healthy eyes from diseased ones.
    assert (found["pixels"] or 0) > 0.6
    assert np.isfinite(found["random:micro"] or np.nan)
