"""CheXpert: layouts of both sizes, uncertain and blank labels, odd views, MGCA's split."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.chexpert import BROKEN, write_chexpert
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.chest.chexpert import CARD, LABEL_NAMES, card, read
from vlp_zoo.data.records import Record
from vlp_zoo.data.studies import matches_view
from vlp_zoo.errors import DatasetNotFoundError

UIDS = [
    "train/patient00001/study1/view1_frontal",
    "train/patient00002/study2/view1_frontal",
    "train/patient00002/study1/view1_frontal",
    "train/patient00002/study1/view2_lateral",
    "train/patient00003/study1/view1_frontal",
    "train/patient00004/study1/view1_frontal",
    "train/patient00005/study1/view1_frontal",
    "train/patient00006/study1/view1_frontal",
    "valid/patient64541/study1/view1_frontal",
    "valid/patient64542/study1/view1_frontal",
    "test/patient64741/study1/view1_frontal",
    "test/patient64742/study1/view2_lateral",
]
FIVE = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")


def named(record: Record, name: str) -> float:
    return record.labels[LABEL_NAMES.index(name)]


@pytest.mark.parametrize("folder", ["CheXpert-v1.0-small", "CheXpert-v1.0"])
@pytest.mark.parametrize("inside", [False, True])
def test_reads_both_sizes(tmp_path: Path, folder: str, inside: bool) -> None:
    write_chexpert(tmp_path, folder=folder, inside=inside)
    records = list(read(tmp_path))
    assert [r.uid for r in records] == UIDS
    assert all(r.image.is_file() for r in records)
    assert [r.split for r in records] == [*["train"] * 8, *["val"] * 2, *["test"] * 2]
    assert records[2].patient_id == records[1].patient_id == "patient00002"
    assert records[2].study_id == records[3].study_id == "patient00002/study1"
    assert [r.row for r in records[:2]] == [2, 3]
    assert records[8].row == 2
    assert named(records[2], "Lung Opacity") == 1
    assert np.isnan(named(records[2], "Edema"))
    assert named(records[10], "Cardiomegaly") == 1
    assert named(records[10], "Edema") == 0


def test_the_four_parts_of_the_full_size(tmp_path: Path) -> None:
    write_chexpert(tmp_path / "whole", faults=False, test=False)
    tables = tmp_path / "CheXpert-v1.0 batch 1 (validate & csv)"
    tables.mkdir()
    for name in ("train.csv", "valid.csv", "valid"):
        shutil.move(tmp_path / "whole" / name, tables / name)
    for i, patient in enumerate(sorted((tmp_path / "whole" / "train").iterdir())):
        part = tmp_path / f"CheXpert-v1.0 batch {i % 3 + 2} (train {i % 3 + 1})"
        shutil.move(patient, part / patient.name)
    records = list(read(tmp_path))
    assert [r.uid for r in records] == UIDS[:10]
    assert all(r.image.is_file() for r in records)


def test_png_copies_and_the_test_set_as_chexlocalize_packs_it(tmp_path: Path) -> None:
    write_chexpert(tmp_path, faults=False)
    (tmp_path / "chexlocalize" / "CheXpert").mkdir(parents=True)
    for name in ("test_labels.csv", "test"):
        shutil.move(tmp_path / name, tmp_path / "chexlocalize" / "CheXpert" / name)
    for path in (tmp_path / "valid").rglob("*.jpg"):
        path.rename(path.with_suffix(".png"))
    records = list(read(tmp_path))
    assert [r.uid for r in records] == UIDS
    assert all(r.image.is_file() for r in records)


def test_uncertain_labels_follow_mgca_and_blanks_stay_unknown(tmp_path: Path) -> None:
    write_chexpert(tmp_path)
    assert named(list(read(tmp_path))[1], "Cardiomegaly") == -1
    studies, _ = load(CARD, tmp_path)
    values = dict(zip(LABEL_NAMES, studies.labels[1], strict=True))
    assert values["Cardiomegaly"] == 0
    assert values["Edema"] == values["Atelectasis"] == 1
    assert np.isnan(values["Pneumonia"])
    assert np.isnan(values["Fracture"])
    # As published code takes them.
    studies, _ = load(card(blank=0.0), tmp_path)
    values = dict(zip(LABEL_NAMES, studies.labels[1], strict=True))
    assert values["Fracture"] == 0
    assert np.isnan(values["Pneumonia"])


def test_frontal_is_what_the_table_calls_frontal(tmp_path: Path) -> None:
    write_chexpert(tmp_path)
    records = list(read(tmp_path))
    # LL would be a lateral view by itself.
    assert records[4].view == "FRONTAL"
    assert records[4].facts["projection"] == "LL"
    assert records[3].view == records[11].view == "LATERAL"
    assert records[10].view == "FRONTAL"
    frontal = [r.uid for r in records if matches_view(r.view, ["frontal"])]
    assert len(frontal) == 10
    assert records[4].facts["sex"] == ""
    assert np.isnan(records[4].facts["age"])
    assert records[0].facts["age"] == 68


def test_released_splits(tmp_path: Path) -> None:
    write_chexpert(tmp_path)
    records = list(read(tmp_path))
    splits = split_of(CARD, records, "official")
    assert splits == [r.split for r in records]
    splits = split_of(CARD, records, "valid-as-test")
    assert splits[8:] == ["test", "test", "", ""]
    assert set(splits[:8]) == {"train", "val"}
    write_chexpert(tmp_path / "old", test=False)
    records = list(read(tmp_path / "old"))
    assert len(records) == 10
    with pytest.raises(DatasetNotFoundError, match="valid-as-test"):
        split_of(CARD, records, "official")


def release(count: int = 9000) -> list[Record]:
    """A training table with 220 images per finding for 5x200, and a valid set."""
    order = np.random.default_rng(0).permutation(count)
    records = []
    for i in range(count):
        labels = dict.fromkeys(LABEL_NAMES, float("nan"))
        place = int(order[i])
        if place < 1100:
            labels[FIVE[place % 5]] = 1.0
            labels["Pneumonia"] = 0.0
        elif place < 2200:
            # Not alone, uncertain, or lateral: none of these can be chosen.
            labels[FIVE[place % 5]] = 1.0
            labels["Fracture"] = (1.0, -1.0, float("nan"))[place % 3]
        side = "LATERAL" if 1100 <= place < 2200 and place % 3 == 2 else "AP"
        patient = f"patient{i // 2:05d}"
        records.append(
            Record(
                *(f"train/{patient}/study1/view{i % 2}", Path(), patient, patient),
                view=side,
                split="train",
                labels=tuple(labels.values()),
            )
        )
    for i in range(234):
        uid = f"valid/{i}"
        labels = dict.fromkeys(LABEL_NAMES, 0.0)
        records.append(
            Record(uid, Path(), uid, uid, split="val", labels=tuple(labels.values()))
        )
    return records


def test_mgca_step_by_step() -> None:
    """Against the steps of the original, with its mix-up of positions and numbers."""
    import pandas as pd

    records = release()
    frame = pd.DataFrame(
        [r.labels for r in records[:9000]], columns=list(LABEL_NAMES)
    ).fillna(0)
    frame["uid"] = [r.uid for r in records[:9000]]
    frame["view"] = [r.view for r in records[:9000]]
    frontal = frame[frame.view != "LATERAL"]
    chosen = []
    for name in FIVE:
        others = [n for n in LABEL_NAMES if n not in (name, "No Finding")]
        alone = (frontal[name] == 1) & (frontal[others] == 0).all(axis=1)
        assert alone.sum() == 220
        chosen.append(frontal[alone].sample(n=200, random_state=0))
    five = set(pd.concat(chosen).uid)
    left = frame[~frame.uid.isin(five)]
    ids = np.random.RandomState(0).choice(len(left), size=5000, replace=False)
    val = set(left.iloc[ids].uid)
    train = set(left.drop(ids, errors="ignore").uid)

    splits = dict(
        zip([r.uid for r in records], split_of(CARD, records, "mgca"), strict=True)
    )
    got = {
        name: {uid for uid, split in splits.items() if split == name}
        for name in ("train", "val", "test")
    }
    # The original has images on both sides; here they are on the second only.
    assert train & val
    assert got["val"] == val
    assert got["train"] == train - val
    assert len(got["test"]) == 234
    assert not five & (got["train"] | got["val"])
    lost = {uid for uid, split in splits.items() if not split}
    assert lost - five
    assert CARD.splits["mgca"].legacy
    only = split_of(CARD, records, "mgca-5x200")
    assert {r.uid for r, s in zip(records, only, strict=True) if s == "test"} == five
    assert Counter(only) == {"test": 1000, "": len(records) - 1000}


def test_selections_need_the_whole_table(tmp_path: Path) -> None:
    write_chexpert(tmp_path)
    records = list(read(tmp_path))
    for name in ("mgca", "mgca-5x200"):
        with pytest.raises(DatasetNotFoundError, match="200 frontal training images"):
            split_of(CARD, records, name)
    with pytest.raises(DatasetNotFoundError, match="more than 5000"):
        split_of(CARD, release(2500), "mgca")


def test_the_cut_file_is_found(tmp_path: Path) -> None:
    write_chexpert(tmp_path)
    studies, _ = load(CARD, tmp_path)
    assert studies[0].image.shape == (40, 48)
    assert rejected(CARD, tmp_path) == [(BROKEN, "truncated")]
    (tmp_path / f"{UIDS[0]}.jpg").unlink()
    assert (UIDS[0], "missing") in rejected(CARD, tmp_path)
    # The missing one is first: its place in the order stays.
    assert [r.uid for r in read(tmp_path)] == UIDS


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"train\.csv of CheXpert"):
        list(read(tmp_path))
    write_chexpert(tmp_path)
    table = tmp_path / "train.csv"
    kept = table.read_text()
    table.write_text(kept.replace("Edema", "Oedema"))
    with pytest.raises(DatasetNotFoundError, match="columns Edema"):
        list(read(tmp_path))
    table.write_text(kept.replace("small/train/patient00002", "small/x/patient00002"))
    with pytest.raises(DatasetNotFoundError, match="in line 3 of"):
        list(read(tmp_path))
    table.write_text(kept)
    for name in ("train", "valid", "test"):
        shutil.rmtree(tmp_path / name)
    with pytest.raises(DatasetNotFoundError, match="put the folders train and valid"):
        list(read(tmp_path))
