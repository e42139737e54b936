"""Real radiographs from training to evaluation: an encoder made here, above its baselines.

Bounds are the baselines themselves: an interval of a paired difference above 0, or of a
value above chance. Where the encoder is not shown to be above its untrained network,
only what is true is asked for.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_sets import SMALL, masks

from tests.cli.real.runs import MASKS, evaluated, trained
from tests.conftest import require_shared
from vlp_zoo.evaluation.results import Result, ResultStore
from vlp_zoo.files import write_whole

pytestmark = pytest.mark.real

BOXES = """
protocol: detection
settings: {frozen: false, size: 0, width: 64, convolutions: 1, epochs: [12, 12],
  batch_size: 8, learning_rates: [1.0e-3], evaluations: 3, augment: none}
"""
"""A preset as a user would write it, for a minute of a small machine."""


@pytest.fixture(scope="module")
def reports() -> Path:
    return require_shared("realdata", "cxr_text", "pairs.csv")


@pytest.fixture(scope="module")
def chest(folder: Path, reports: Path) -> Path:
    return trained(folder, "chest", reports, 6, "--data.views=[FRONTAL]")


@pytest.fixture(scope="module")
def findings(folder: Path, chest: Path, reports: Path) -> dict[str, dict[str, Result]]:
    return evaluated(
        folder, chest, "findings", reports, ["vlp-linear", "vlp-knn", "vlp-retrieval"]
    )


def test_a_probe_beats_the_untrained_network(
    findings: dict[str, dict[str, Result]],
) -> None:
    rows = findings["vlp-linear"]
    assert (rows["minus random init of mine"].low or -1) > 0
    assert (rows["mine"].low or 0) > 0.6
    assert rows["mine"].n > 500
    assert (findings["vlp-knn"]["minus random init of mine"].low or -1) > 0


def test_retrieval_is_above_chance(
    folder: Path, findings: dict[str, dict[str, Result]]
) -> None:
    assert findings["vlp-retrieval"]["mine"].metric == "i2t_recall@10"
    rows = {row.metric: row for row in ResultStore(folder / "findings.results").read()}
    # After minutes few reports are among the first ten, on some processors no more of
    # them than by chance. The mean rank has all queries.
    for way in ("i2t", "t2i"):
        row = rows[f"{way}_mean_rank"]
        assert row.value is not None
        assert row.high is not None
        assert 1 < row.value < row.high < row.details["chance"]


def test_lungs_are_marked_by_a_linear_layer(folder: Path, chest: Path) -> None:
    table = folder / "lungs.csv"
    masks(require_shared("realdata", "cxr_masks"), "lungs_v7", table)
    found = evaluated(folder, chest, "lungs", table, MASKS, SMALL)
    (rows,) = found.values()
    assert (rows["minus random init of mine"].low or -1) > 0
    assert (rows["minus pixels"].low or -1) > 0
    assert rows["prevalence"].value == 0
    assert (rows["mine"].low or 0) > 0.5


def test_lungs_are_boxed(folder: Path, chest: Path) -> None:
    root = require_shared("realdata", "cxr_notes")
    boxes: dict[str, list[dict[str, Any]]] = {}
    for row in pd.read_csv(root / "lung_boxes.csv").to_dict("records"):
        corners = [row["x"], row["y"], row["x"] + row["w"], row["y"] + row["h"]]
        box = {"name": row["class_name"], "kind": "lesion", "xyxy": corners}
        boxes.setdefault(row["image"], []).append(box)
    notes = pd.read_csv(root / "notes.csv", dtype=str)
    rows = [
        {
            "image": root / image,
            "patient_id": patient,
            "boxes": json.dumps(boxes.get(image, [])),
        }
        for image, patient in zip(notes["image"], notes["patient_id"], strict=True)
    ]
    table, preset = folder / "boxes.csv", folder / "boxes.yaml"
    pd.DataFrame(rows).to_csv(table, index=False)
    write_whole(preset, BOXES)
    found = evaluated(folder, chest, "boxes", table, [str(preset)], SMALL)
    (values,) = found.values()
    # Level with its untrained network: for two large boxes that is as good a start.
    assert (values["minus pixels"].low or -1) > 0
    assert (values["mine"].low or 0) > 0.35
