"""IDRiD: unpacked in every way, absent lesions, twins, parts kept apart."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import require_shared
from tests.data.readers.rejects import rejected
from tests.fakes.idrid import BROKEN, write_idrid
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.fundus.idrid import CARD, LESIONS
from vlp_zoo.data.masks import decode_mask
from vlp_zoo.data.records import MaskRef
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.pixels import read_rgb


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("doubled", [False, True])
def test_reads_however_it_was_unpacked(
    tmp_path: Path, encoded: bool, doubled: bool
) -> None:
    write_idrid(tmp_path, encoded=encoded, doubled=doubled)
    records = list(CARD.read(tmp_path))
    assert len(records) == 9 + 6
    assert all(record.image.is_file() for record in records)
    first = records[0]
    assert first.uid == "grading/train/IDRiD_001"
    assert first.labels.index(1.0) == 3
    assert first.facts == {
        "part": "grading",
        "grade": 3,
        "macular_edema": 2,
        "optic_disc": (21, 31),
        "fovea": (21, 31),
    }
    outlined = records[9]
    assert outlined.uid == "segmentation/train/IDRiD_01"
    assert np.isnan(outlined.labels).all()
    assert {mask.name for mask in outlined.masks} == set(LESIONS.values())


def test_an_absent_lesion_is_an_empty_mask(tmp_path: Path) -> None:
    write_idrid(tmp_path)
    studies, _ = load(CARD, tmp_path, split="segmentation")
    masks = {
        study.uid[-2:]: study.masks for study in map(studies.__getitem__, range(6))
    }
    assert masks["01"]["soft exudate"].sum() == 6 * 14
    assert masks["02"]["soft exudate"].shape == (40, 48)
    assert masks["02"]["soft exudate"].sum() == 0
    assert masks["02"]["optic disc"].sum() == 6 * 14


def test_twins_part_as_published_and_join_in_ours(tmp_path: Path) -> None:
    write_idrid(tmp_path)
    records = list(CARD.read(tmp_path))
    uids = [record.uid for record in records]
    train, test = (
        uids.index("grading/train/IDRiD_118"),
        uids.index("grading/test/IDRiD_064"),
    )
    grading = split_of(CARD, records, "grading")
    assert (grading[train] != "test", grading[test]) == (True, "test")
    ours = split_of(CARD, records, "canonical")
    assert ours[train] == ours[test] == "test"
    assert set(grading[9:]) == {""}
    segmentation = split_of(CARD, records, "segmentation")
    assert set(segmentation[:9]) == {""}
    assert segmentation[-2:] == ["test", "test"]
    official = split_of(CARD, records, "official")
    assert "" not in official
    assert official.count("test") == 5


def test_one_part_is_enough(tmp_path: Path) -> None:
    write_idrid(tmp_path)
    shutil.rmtree(tmp_path / "C. Localization")
    shutil.rmtree(tmp_path / "A. Segmentation")
    records = list(CARD.read(tmp_path))
    assert len(records) == 9
    assert "fovea" not in records[0].facts
    shutil.rmtree(tmp_path / "B. Disease Grading")
    with pytest.raises(DatasetNotFoundError, match=r"'A\. Segmentation' or"):
        list(CARD.read(tmp_path))


def test_cut_and_missing_files_are_found(tmp_path: Path) -> None:
    write_idrid(tmp_path)
    assert rejected(CARD, tmp_path) == [(BROKEN, "truncated")]
    images = tmp_path / "A. Segmentation" / "1. Original Images"
    (images / "b. Testing Set" / "IDRiD_81.jpg").unlink()
    assert rejected(CARD, tmp_path)[1] == ("segmentation/test/IDRiD_81", "missing")


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    write_idrid(tmp_path)
    truth = tmp_path / "B. Disease Grading" / "2. Groundtruths"
    (truth / "b. IDRiD_Disease Grading_Testing Labels.csv").unlink()
    with pytest.raises(DatasetNotFoundError, match="Testing Labels"):
        list(CARD.read(tmp_path))
    shutil.rmtree(tmp_path / "B. Disease Grading" / "1. Original Images")
    with pytest.raises(DatasetNotFoundError, match=r"1\. Original Images"):
        list(CARD.read(tmp_path))


def test_real_files_in_the_official_layout(tmp_path: Path) -> None:
    real = require_shared("realdata")
    endings = {"microaneurysms": "MA", "haemorrhages": "HE", "hard_exudates": "EX"}
    endings |= {"soft_exudates": "SE", "optic_disc": "OD"}
    folders = ["1. Microaneurysms", "2. Haemorrhages", "3. Hard Exudates"]
    folders += ["4. Soft Exudates", "5. Optic Disc"]
    part = tmp_path / "A. Segmentation"
    truth = part / "2. All Segmentation Groundtruths"
    for name in ("a. Training Set", "b. Testing Set"):
        (part / "1. Original Images" / name).mkdir(parents=True)
        for folder in folders:
            (truth / name / folder).mkdir(parents=True)
    with (real / "fundus_seg" / "masks.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if "idrid_seg_0" in row["image"]]
    expected = {}
    for row in rows:
        stem = f"IDRiD_{row['image'][-6:-4]}"
        place = list(endings).index(row["class_name"])
        code = endings[row["class_name"]]
        file_name = f"{stem}_{code}.tif"
        outline = truth / "a. Training Set" / folders[place] / file_name
        outline.symlink_to(real / "fundus_seg" / row["mask"])
        image = part / "1. Original Images" / "a. Training Set" / f"{stem}.jpg"
        if not image.exists():
            image.symlink_to(real / "fundus_seg" / row["image"])
        expected[f"segmentation/train/{stem}", LESIONS[code]] = float(row["area_frac"])
    studies, _ = load(CARD, tmp_path)
    for study in map(studies.__getitem__, range(len(studies))):
        for name, pixels in study.masks.items():
            area = expected.get((study.uid, name), 0.0)
            assert pixels.mean() == pytest.approx(area, abs=1e-5)
    assert len(studies) == len({uid for uid, _ in expected})


def test_real_outlines_lie_on_their_photographs() -> None:
    root = require_shared("realdata", "fundus_seg")
    with (root / "masks.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if "idrid" in row["image"]]
    for row in rows[:: max(len(rows) // 12, 1)]:
        height, width, _ = read_rgb(root / row["image"]).shape
        reference = MaskRef(row["class_name"], "file", root / row["mask"])
        pixels = decode_mask(reference, height, width)
        assert pixels.mean() == pytest.approx(float(row["area_frac"]), abs=1e-5)
        down, across = np.nonzero(pixels)
        box = [across.min(), down.min(), np.ptp(across) + 1, np.ptp(down) + 1]
        assert [int(value) for value in box] == [int(row[key]) for key in "xywh"]
