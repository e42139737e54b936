"""Real images from training to evaluation: encoders made here, above their baselines.

Bounds are the baselines themselves: an interval of a paired difference above 0, or of a
value above chance. Where the encoder is not shown to be above its untrained network,
only what is true is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_sets import SMALL, SPLIT, eyes, masks

from tests.conftest import require_shared
from vlp_zoo.cli import main
from vlp_zoo.evaluation.results import Result, ResultStore
from vlp_zoo.files import write_whole

pytestmark = pytest.mark.real

BOXES = """
protocol: detection
settings: {frozen: false, size: 0, width: 64, convolutions: 1, epochs: [12, 12],
  batch_size: 8, learning_rates: [1.0e-3], evaluations: 3, augment: none}
"""
"""A preset as a user would write it, for a minute of a small machine."""

MASKS = ["vlp-seg-linear-quick"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tables, presets, runs and results go."""
    found = tmp_path_factory.mktemp("real")
    write_whole(found / "boxes.yaml", BOXES)
    return found


@pytest.fixture(autouse=True, scope="module")
def _own_cache(folder: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLPZOO_CACHE", str(folder / "cache"))
        yield


def trained(folder: Path, name: str, table: Path, epochs: int, *more: str) -> Path:
    """A CLIP with the demo's network, trained on the pairs of a table."""
    flags = {
        "config": "demo/clip",
        "data": "pairs",
        "data.path": table,
        "data.batch_size": 32,
        "data.num_workers": 1,
        "data.keep_studies": 4000,
        **{f"data.{key}": value for key, value in SPLIT.items()},
        "trainer.max_epochs": epochs,
        "evaluate": "[]",
        "out": folder / name,
    }
    words = [f"--{key}={value}" for key, value in flags.items()]
    assert main(["fit", *words, *more]) == 0
    (encoder,) = (folder / name).rglob("version_*/encoder.safetensors")
    return encoder.parent


def evaluated(
    folder: Path,
    encoder: Path,
    name: str,
    table: Path,
    presets: Sequence[str],
    split: Mapping[str, float] = SPLIT,
) -> dict[str, dict[str, Result]]:
    """Preset to the headline of each encoder and baseline, and to differences.

    Differences stand under ``minus`` and the name of the baseline.
    """
    options = {"root": str(table), **split, "colour": "fundus" in name}
    task = {"name": name, "data": "pairs", "options": options, "presets": presets}
    suite = folder / f"{name}.suite.yaml"
    write_whole(suite, json.dumps({"summary": name, "tasks": [task]}))
    out = folder / f"{name}.results"
    words = ["bench", f"--encoder=mine={encoder}", f"--suite={suite}", f"--out={out}"]
    assert main([*words, "--num-workers=0", "--random-draws=1"]) == 0
    found: dict[str, dict[str, Result]] = {}
    for row in ResultStore(out).read():
        rows = found.setdefault(row.protocol, {})
        if row.baseline is not None:
            rows[f"minus {row.baseline_name}"] = row
        else:
            rows.setdefault(row.encoder, row)
    return found


def table_of(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    """A table of one's own."""
    path = folder / f"{name}.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


# Chest radiographs ------------------------------------------------------------------


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


@pytest.mark.xdist_group("chest")
def test_a_probe_beats_the_untrained_network(
    findings: dict[str, dict[str, Result]],
) -> None:
    rows = findings["vlp-linear"]
    assert (rows["minus random init of mine"].low or -1) > 0
    assert (rows["mine"].low or 0) > 0.6
    assert rows["mine"].n > 500
    assert (findings["vlp-knn"]["minus random init of mine"].low or -1) > 0


@pytest.mark.xdist_group("chest")
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


@pytest.mark.xdist_group("chest")
def test_lungs_are_marked_by_a_linear_layer(folder: Path, chest: Path) -> None:
    table = folder / "lungs.csv"
    masks(require_shared("realdata", "cxr_masks"), "lungs_v7", table)
    found = evaluated(folder, chest, "lungs", table, MASKS, SMALL)
    (rows,) = found.values()
    assert (rows["minus random init of mine"].low or -1) > 0
    assert (rows["minus pixels"].low or -1) > 0
    assert rows["prevalence"].value == 0
    assert (rows["mine"].low or 0) > 0.5


@pytest.mark.xdist_group("chest")
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
    table = table_of(folder, "boxes", rows)
    preset = str(folder / "boxes.yaml")
    found = evaluated(folder, chest, "boxes", table, [preset], SMALL)
    (values,) = found.values()
    # Level with its untrained network: for two large boxes that is as good a start.
    assert (values["minus pixels"].low or -1) > 0
    assert (values["mine"].low or 0) > 0.35


# Fundus photographs -----------------------------------------------------------------


@pytest.fixture(scope="module")
def photographs(folder: Path) -> Path:
    return eyes(require_shared("realdata", "fundus_cls"), folder / "eyes.csv")


@pytest.fixture(scope="module")
def fundus(folder: Path, photographs: Path) -> Path:
    return trained(
        *(folder, "fundus", photographs, 20),
        *("--data.report_column=report", "--data.colour=true"),
    )


@pytest.mark.xdist_group("fundus")
def test_diseases_of_the_eye_are_told_apart(
    folder: Path, fundus: Path, photographs: Path
) -> None:
    presets = ["vlp-linear", "vlp-knn"]
    found = evaluated(folder, fundus, "fundus labels", photographs, presets)
    for rows in found.values():
        assert (rows["mine"].low or 0) > 0.6
        # Minutes on a few hundred photographs: not shown to be above its untrained
        # network, which knows colours too.
        assert (rows["minus pixels"].low or -1) > 0


@pytest.mark.xdist_group("fundus")
def test_the_optic_disc_is_marked(folder: Path, fundus: Path) -> None:
    pack, table = require_shared("realdata", "fundus_seg"), folder / "discs.csv"
    masks(pack, "optic_disc", table, source="IDRiD")
    (rows,) = evaluated(folder, fundus, "fundus disc", table, MASKS).values()
    assert rows["prevalence"].value == 0
    assert (rows["minus random init of mine"].low or -1) > 0
    assert (rows["minus pixels"].low or -1) > 0
