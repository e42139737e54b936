"""Every planted fault is found, and nothing else is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import require_shared
from tests.fakes.leaky_pairs import PLANTED, write_clean_pairs, write_leaky_pairs
from vlp_zoo.cli.audit import build_splits
from vlp_zoo.data.audit import prints
from vlp_zoo.data.audit.findings import Audit, Finding, audit
from vlp_zoo.data.audit.prints import FEATURES, look, look_at_all
from vlp_zoo.data.audit.twins import correlation
from vlp_zoo.data.phantom.chest.source import PhantomChestSource
from vlp_zoo.types import StudySource


def _audit(**tables: Path) -> Audit:
    datasets = {name: build_splits(f"pairs:{path}") for name, path in tables.items()}
    return audit(datasets, progress=False, workers=2)


def _uids(found: Audit, finding: Finding) -> tuple[str, ...]:
    return tuple(sorted(found.images[i].uid for i in finding.images))


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    folder = tmp_path_factory.mktemp("leaky")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLPZOO_CACHE", str(folder / "cache"))
        path, _ = write_leaky_pairs(folder / "data")
        return _audit(leaky=path)


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_copy_is_found_with_its_kind_and_grade(
    leaky: Audit, fault: str
) -> None:
    pair = tuple(sorted(PLANTED[fault]))
    (finding,) = [
        f for f in leaky.findings if f.kind == "copies" and _uids(leaky, f) == pair
    ]
    (twin,) = finding.twins
    same = {"jpeg": "near", "resized": "near", "padded": "near", "disputed": "near"}
    assert twin.kind == same.get(fault, fault)
    across = len({name.partition("/")[0] for name in pair}) > 1
    assert finding.grade == ("leak" if across else "twin")
    if fault == "cropped":
        assert leaky.images[twin.first].uid == PLANTED[fault][0]
        assert twin.scale == pytest.approx(0.82, abs=0.03)


def test_nothing_is_found_that_was_not_planted(leaky: Audit) -> None:
    copies = [f for f in leaky.findings if f.kind == "copies"]
    assert len(copies) == len(PLANTED)
    assert {f.kind for f in leaky.findings} == {"copies", "patients", "labels", "file"}
    (patient,) = [f for f in leaky.findings if f.kind == "patients"]
    first = next(i for i in leaky.images if i.uid == "train/00.png")
    assert patient.details["ids"] == [first.patient_id]
    assert patient.grade == "leak"
    (dispute,) = [f for f in leaky.findings if f.kind == "labels"]
    assert _uids(leaky, dispute) == tuple(sorted(PLANTED["disputed"]))
    assert set(dispute.details["labels"]) == {"edema"}
    files = {
        leaky.images[f.images[0]].uid: f.details["reason"]
        for f in leaky.findings
        if f.kind == "file"
    }
    assert files == {"train/12.png": "missing", "val/05.png": "truncated"}
    assert [leaky.reaches(g) for g in ("leak", "unreadable")] == [True, True]


def test_a_clean_table_gives_no_findings(tmp_path: Path) -> None:
    path, _ = write_clean_pairs(tmp_path)
    found = _audit(clean=path)
    assert found.findings == ()
    assert not found.reaches("unreadable")
    report = found.to_dict()
    assert report["counts"] == dict.fromkeys(
        ("leak", "twin", "contradiction", "unreadable"), 0
    )
    assert report["datasets"]["clean"]["splits"]["val"]["images"] == 7


@pytest.mark.slow
def test_clean_drawn_worlds_give_no_findings() -> None:
    splits: Mapping[str, StudySource] = {
        split: PhantomChestSource(split, 40, image_size=128)
        for split in ("train", "val", "test")
    }
    found = audit({"phantom_chest": splits}, progress=False)
    assert found.findings == ()


def test_copies_between_two_data_sets(tmp_path: Path) -> None:
    one, _ = write_clean_pairs(tmp_path / "one", studies=6)
    table = one.read_text()
    for old, new in (("train", "X"), ("test", "train"), ("X", "test")):
        table = table.replace(f",{old},", f",{new},")
    swapped = one.with_name("swapped.csv")
    swapped.write_text(table)
    found = _audit(one=one, two=swapped)
    grades = {
        (found.images[f.images[0]].split, found.images[f.images[1]].split): f.grade
        for f in found.findings
    }
    assert grades == {
        ("train", "test"): "leak",
        ("test", "train"): "leak",
        ("val", "val"): "twin",
    }
    assert {f.kind for f in found.findings} == {"copies"}
    assert len(found.findings) == len(found.images) / 2


def test_a_study_in_two_splits_is_named(tmp_path: Path) -> None:
    path, rows = write_clean_pairs(tmp_path, studies=6)
    train = next(row for row in rows if row["split"] == "train")
    val = next(row for row in rows if row["split"] == "val")
    path.write_text(path.read_text().replace(val["study_id"], train["study_id"]))
    found = _audit(one=path)
    (finding,) = found.findings
    assert (finding.grade, finding.kind) == ("leak", "studies")
    assert finding.details["ids"] == [train["study_id"]]
    assert finding.summary.startswith("1 study in both train and val")


def test_a_second_look_reads_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = write_leaky_pairs(tmp_path, studies=14)
    splits = build_splits(f"pairs:{path}")
    first = look_at_all(splits.values(), progress=False)
    read: list[str] = []
    once = prints._look_at

    def counted(source: StudySource, index: int) -> prints.Print:
        read.append(source.uids[index])
        return once(source, index)

    monkeypatch.setattr(prints, "_look_at", counted)
    second = look_at_all(splits.values(), progress=False)
    # What is not there may have come back.
    assert read == ["train/12.png"]
    assert second.sha256 == first.sha256
    assert second.reasons == first.reasons
    assert (second.full == first.full).all()
    assert (second.inner == first.inner).all()
    np.testing.assert_array_equal(second.features, first.features)


def test_a_changed_file_is_looked_at_again(tmp_path: Path) -> None:
    path, rows = write_clean_pairs(tmp_path, studies=6)
    splits = build_splits(f"pairs:{path}")
    first = look_at_all(splits.values(), progress=False)
    other = (tmp_path / rows[1]["image"]).read_bytes()
    (tmp_path / rows[0]["image"]).write_bytes(other)
    second = look_at_all(splits.values(), progress=False)
    assert second.sha256[0] == first.sha256[1] != first.sha256[0]
    assert second.sha256[1:] == first.sha256[1:]


def test_borders_are_seen_through_and_blank_images_named() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 12), np.uint8).repeat(10, 0).repeat(10, 1)
    padded = np.pad(pixels, ((20, 50), (0, 30)), constant_values=255)
    plain, bordered = look(pixels), look(padded)
    assert (plain.full == plain.inner).all()
    assert np.abs(bordered.inner.astype(int) - plain.full).mean() < 2
    values = dict(zip(FEATURES, bordered.features, strict=True))
    assert values["log height"] == pytest.approx(np.log(190))
    assert values["corner bottom right"] == 255
    assert look(np.full((50, 70), 9, np.uint8)).reason == "blank"


def test_equal_surrounds_make_no_copies() -> None:
    """Discs on black, padded alike, agree in all that is sharp but their inside."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:180, :180]
    disc = (rows - 90) ** 2 + (columns - 90) ** 2 < 80**2
    pictures = []
    for _ in range(2):
        noise = rng.normal(size=(180, 180)).astype(np.float32)
        texture = 130 + 600 * cv2.GaussianBlur(noise, (0, 0), 8)
        pixels = np.where(disc, texture.clip(60, 200), 0).astype(np.uint8)
        pictures.append(look(np.pad(pixels, ((0, 60), (30, 30)))).full)
    assert correlation(pictures[0], pictures[1]) < 0.3
    assert correlation(pictures[0], pictures[0]) == pytest.approx(1)


@pytest.mark.slow
def test_real_photographs_of_the_fundus() -> None:
    """One eye is under two names in IDRiD; different eyes are not copies."""
    path = require_shared("realdata", "fundus_cls", "labels.csv")
    found = audit(
        {"idrid": build_splits(f"pairs:{path}", label_prefix="label_d")}, progress=False
    )
    copies = {_uids(found, f) for f in found.findings if f.kind == "copies"}
    assert copies == {("images/idrid_train_013.jpg", "images/idrid_train_397.jpg")}
    assert len(found.findings) == 1


@pytest.mark.slow
def test_real_radiographs_in_two_packs_are_the_same() -> None:
    notes = require_shared("realdata", "cxr_notes", "notes.csv")
    masks = require_shared("realdata", "cxr_masks", "images.csv")
    found = _audit(notes=notes, masks=masks)
    copies = [f for f in found.findings if f.kind == "copies"]
    both = {
        found.images[i].uid
        for f in copies
        if {found.images[i].dataset for i in f.images} == {"notes", "masks"}
        for i in f.images
        if found.images[i].dataset == "masks"
    }
    assert both == {i.uid for i in found.images if i.dataset == "masks"}
    # Names are the same in both packs, so that a false pair would show.
    lone = [f for f in copies if len({found.images[i].uid for i in f.images}) > 1]
    assert len(lone) == 4
