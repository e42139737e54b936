"""Segmentation of real images: minutes of training must beat the empty mask clearly."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import require_shared
from vlp_zoo.data.records import MaskRef
from vlp_zoo.data.studies import FileStudies
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.evaluation.baselines import Prevalence
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate
from vlp_zoo.evaluation.segmentation.segmentation import Segment
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import Task

IDRID = ("optic_disc", "microaneurysms", "haemorrhages", "hard_exudates")
"""Drawn wherever they were seen; HRF has nothing but vessels."""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def task(folder: Path, looked: Any, colour: bool) -> Task:
    """Every fourth patient for validation, every fourth for testing.

    Args:
        folder: With ``images.csv`` and ``masks.csv``.
        looked: Image row and its classes to the names that were looked for in it.
        colour: Keep three channels.
    """
    masks = defaultdict(list)
    for row in rows(folder / "masks.csv"):
        reference = MaskRef(row["class_name"], "file", folder / row["mask"])
        masks[row["image"]].append(reference)
    images = rows(folder / "images.csv")
    patients = sorted({row["patient_id"] for row in images})
    place = {name: i % 4 for i, name in enumerate(patients)}
    splits = {}
    for split, parts in (("train", (0, 1)), ("val", (2,)), ("test", (3,))):
        chosen = [row for row in images if place[row["patient_id"]] in parts]
        names = [row["image"] for row in chosen]
        splits[split] = FileStudies(
            f"{folder.name} {split}",
            uids=names,
            patient_ids=[row["patient_id"] for row in chosen],
            study_ids=names,
            images=[folder / name for name in names],
            texts=[""] * len(names),
            rows=list(range(len(names))),
            views=[None] * len(names),
            masks=[tuple(masks[name]) for name in names],
            facts=[
                {"annotated": looked(row, [m.name for m in masks[row["image"]]])}
                for row in chosen
            ],
            colour=colour,
        )
    return Task(folder.name, splits, gives=frozenset({"masks"}), min_positives=5)


def dice(what: Task, structure: str, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """Outcome and measures of a small network that starts from nothing."""
    how = Extraction(progress=False, cache=FeatureCache(None), batch_size=8)
    torch.manual_seed(0)
    encoder = ImageEncoder("micro").eval()
    options = {
        "size": 128,
        "structures": (structure,),
        "steps": (120, 120, 120),
        "batch_size": 8,
        "learning_rate": 3e-3,
        "encoder_learning_rate": 1e-3,
        "evaluations": 3,
        "decoder_width": 32,
        "replicates": 200,
        **settings,
    }
    protocol = Segment(**options)
    found = []
    for module in (encoder, Prevalence()):
        who = Candidate(subject_of(module, "m", "encoder", how), module)
        found.append(protocol.measure(who, what, 0, how))
    mine, baseline = found
    gap, _ = protocol.difference(mine.cases, baseline.cases, mine.undefined, 0)
    assert gap.low > 0
    values = {m.metric: m for m in mine.measures}
    empty = {m.metric: m.value for m in baseline.measures}
    assert values["dice_all_floor"].value == empty["dice_all"]
    assert values["dice_all"].value > empty["dice_all"]
    return mine, values


@pytest.mark.slow
def test_the_optic_disc_of_idrid_is_found_and_hrf_does_not_count() -> None:
    def looked(row: dict[str, str], names: list[str]) -> Any:
        return IDRID if row["source"] == "IDRiD" else ("vessels",)

    what = task(require_shared("realdata", "fundus_seg"), looked, True)
    outcome, values = dice(what, "optic_disc", decoder="unet", frozen=False)
    assert values["dice_positive"].value > 0.5
    test = outcome.details["test_cases_by_structure"]["optic_disc"]
    hrf = sum("hrf" in uid.lower() for uid in what.splits["test"].uids)
    assert test["not_annotated"] == hrf > 0
    assert outcome.details["training_cases_not_annotated"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decoder", "rate", "least"), [("linear", 3e-2, 0.35), ("unet", 3e-3, 0.8)]
)
def test_lungs_are_found_on_a_frozen_random_encoder(
    decoder: str, rate: float, least: float
) -> None:
    def looked(row: dict[str, str], names: list[str]) -> Any:
        return names

    what = task(require_shared("realdata", "cxr_masks"), looked, False)
    outcome, values = dice(what, "lungs_v7", decoder=decoder, learning_rate=rate)
    assert values["dice_positive"].value > least
    # Lungs are a third of the pixels: what a ranking by chance would get.
    assert values["pixel_auprc"].value > 0.45
    assert outcome.details["encoder_parameters_trained"] == 0
