"""Prepared stores: the same studies, whole or not at all, and nothing lost on the way."""

from __future__ import annotations

import csv
import errno
import hashlib
import importlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.fakes.nih14 import BROKEN, write_nih14
from tests.fakes.pairs import FAULTS, write_faulty_pairs, write_image, write_pairs
from vlp_zoo.data import DATASETS, official
from vlp_zoo.data.catalogue import card_of as card_by_name
from vlp_zoo.data.catalogue import load, split_of, to_studies
from vlp_zoo.data.chest.nih14 import CARD
from vlp_zoo.data.datamodules import Pairs, PairsDataModule, Prepared
from vlp_zoo.data.pairs import read_pairs
from vlp_zoo.data.precheck import find_rejected
from vlp_zoo.data.records import Card, MaskRef, Record, SplitRule
from vlp_zoo.data.store.prepare import prepare
from vlp_zoo.data.store.raw_sets import RawSet, scan_card, scan_pairs
from vlp_zoo.data.store.reading import PreparedStudies, describe, open_store
from vlp_zoo.data.store.slices import Settings, shrink
from vlp_zoo.data.store.verify import verify
from vlp_zoo.errors import (
    ConfigError,
    DataRejectedError,
    DatasetNotFoundError,
    StoreError,
)
from vlp_zoo.transforms import resize
from vlp_zoo.types import Box, Example, Report, Study

HERE = Path(__file__).parents[2]
SMALL = Settings(size=20, format="png", rows=5)


def nih_store(folder: Path, settings: Settings = SMALL, **kwargs: Any) -> Path:
    """A store of the fake ChestX-ray14, beside its raw files in ``folder / "raw"``."""
    write_nih14(folder / "raw", faults=False)
    out = folder / "store"
    prepare("nih14", partial(scan_card, CARD, folder / "raw"), out, settings, **kwargs)
    return out


def tree(folder: Path) -> dict[str, str]:
    """Every file of a folder with its hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def card_of(records: Sequence[Record], **changes: Any) -> Card:
    """A data set of some records, with two labels."""

    def read(root: Path) -> Iterator[Record]:
        yield from records

    options: dict[str, Any] = {
        "name": "made",
        "title": "Made",
        "domain": "chest",
        "read": read,
        "label_names": ("edema", "effusion"),
        "gives": ("reports", "labels", "boxes", "masks"),
        "patients": "true",
        "markers": ("*",),
        "access": "",
        "licence": "",
        "citation": "",
    }
    return Card(**(options | changes))


def record(folder: Path, i: int, **changes: Any) -> Record:
    """A record with an image of 24 x 32 pixels."""
    path = folder / f"{i}.png"
    write_image(path, i)
    options: dict[str, Any] = {
        "uid": f"u{i}",
        "image": path,
        "patient_id": f"p{i}",
        "study_id": f"s{i}",
        "text": "FINDINGS: Small left effusion. IMPRESSION: No edema.",
        "labels": (1.0, 0.0),
        "row": i + 2,
    }
    return Record(**(options | changes))


def make(card: Card, folder: Path, settings: Settings = SMALL) -> PreparedStudies:
    """Prepare a card into ``folder / "store"`` and open it."""
    out = folder / "store"
    prepare("made", partial(scan_card, card, folder), out, settings, workers=0)
    return PreparedStudies(out)


# What is read is what was there -----------------------------------------------------


def test_studies_are_those_of_the_raw_path_after_the_same_resize(
    tmp_path: Path,
) -> None:
    out = nih_store(tmp_path, workers=1)
    raw, raw_splits = load(CARD, tmp_path / "raw", split="official", views=["PA"])
    studies, splits = open_store(out, split="official", views=["PA"])
    assert splits == raw_splits
    assert (studies.uids, studies.patient_ids) == (raw.uids, raw.patient_ids)
    assert (studies.study_ids, studies.rows) == (raw.study_ids, raw.rows)
    assert studies.label_names == raw.label_names
    assert np.array_equal(studies.labels, raw.labels)
    for index in range(len(raw)):
        old, new = raw[index], studies[index]
        assert np.array_equal(new.image, resize(old.image, 20, keep_aspect=True))
        assert np.array_equal(new.labels, old.labels)
        assert (new.uid, new.view, new.report) == (old.uid, old.view, old.report)
        assert str(new.facts) == str(old.facts)
        assert len(new.boxes) == len(old.boxes)
        for before, after in zip(old.boxes, new.boxes, strict=True):
            assert (after.name, after.kind) == (before.name, before.kind)
            assert after.xyxy == tuple(value / 2 for value in before.xyxy)
        assert studies.original_size(index) == (40, 48)
    assert sum(len(studies.boxes_of(index)) for index in range(len(studies))) == 2


class Cropped:
    """Random pixels and everything a transform may look at."""

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        top = int(rng.integers(0, 8))
        return {
            "uid": study.uid,
            "image": study.image[None, top : top + 12],
            "labels": study.labels,
            "boxes": str(study.boxes),
            "text": study.report.body,
        }


@pytest.mark.parametrize("kind", ["nih14", "pairs"])
def test_batches_are_those_of_a_raw_data_module(tmp_path: Path, kind: str) -> None:
    options: dict[str, Any] = {"batch_size": 2, "num_workers": 0}
    settings = Settings(size=64, format="png")
    raw: PairsDataModule
    if kind == "nih14":
        out = nih_store(tmp_path, settings, workers=0)
        raw = official.nih14(root=str(tmp_path / "raw"), **options)
    else:
        table, _ = write_pairs(tmp_path / "raw")
        out = tmp_path / "store"
        prepare("pairs", partial(scan_pairs, table), out, settings, workers=0)
        raw = Pairs(str(table), **options)
    data = Prepared(str(out), **options)
    assert data.sources.keys() == raw.sources.keys()
    for split in raw.sources:
        loaders = [d.make_loader(split, Cropped()) for d in (raw, data)]
        for old, new in zip(*loaders, strict=True):
            assert torch.equal(old["image"], new["image"])
            assert torch.equal(
                old["labels"].nan_to_num(-9), new["labels"].nan_to_num(-9)
            )
            for field in ("uid", "boxes", "text"):
                assert old[field] == new[field]
    assert data.has_reports == (kind == "pairs")


def test_a_jpeg_that_need_not_shrink_is_copied(tmp_path: Path) -> None:
    table, rows = write_pairs(tmp_path / "raw", 4)
    out = tmp_path / "store"
    prepare("pairs", partial(scan_pairs, table), out, Settings(24), workers=0)
    for path, row in zip(PreparedStudies(out).images, rows, strict=True):
        assert path.read_bytes() == (tmp_path / "raw" / row["image"]).read_bytes()
    out = tmp_path / "smaller"
    prepare("pairs", partial(scan_pairs, table), out, Settings(12), workers=0)
    raw, _ = read_pairs(table)
    studies = PreparedStudies(out)
    for i in range(len(raw)):
        study = studies[i]
        exact = shrink(raw[i].image, Settings(12)).astype(int)
        assert study.image.shape == (12, 16)
        # Noise is the worst there is for JPEG.
        assert np.abs(study.image - exact).mean() < 4


@pytest.mark.parametrize(
    ("size", "side", "shape"),
    [(20, "short", (20, 27)), (20, "long", (15, 20)), (99, "short", (24, 32))],
)
def test_one_side_is_limited_and_nothing_is_enlarged(
    size: int, side: Any, shape: tuple[int, int]
) -> None:
    image = np.zeros((24, 32), np.uint8)
    assert shrink(image, Settings(size, side)).shape == shape
    assert shrink(np.zeros((4000, 3), np.uint8), Settings(20, "long")).shape == (20, 1)


def test_colour_boxes_and_masks_land_at_the_stored_size(tmp_path: Path) -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[10:20, 40:60] = (200, 30, 10)
    Image.fromarray(pixels).save(tmp_path / "eye.png")
    Image.fromarray((pixels[..., 0] > 0).astype(np.uint8) * 255).save(
        tmp_path / "mask.png"
    )
    masks = (
        MaskRef("lesion", "file", tmp_path / "mask.png"),
        MaskRef("lesion", "rectangle", (0, 0, 8, 8)),
        MaskRef("speck", "rectangle", (2, 2, 3, 3)),
    )
    item = record(
        tmp_path,
        0,
        image=tmp_path / "eye.png",
        boxes=(Box("lesion", (40, 10, 80, 40), "lesion"),),
        masks=masks,
    )
    card = card_of([item], domain="fundus")
    studies = make(card, tmp_path, Settings(size=20, format="png"))
    study = studies[0]
    assert study.image.shape == (20, 40, 3)
    assert study.image[7, 25].tolist() == [200, 30, 10]
    assert study.boxes == (Box("lesion", (20, 5, 40, 20), "lesion"),)
    expected = study.image[..., 0] > 0
    expected[:4, :4] = True
    assert np.array_equal(study.masks["lesion"], expected)
    assert not study.masks["speck"].any()
    assert studies.mask_names(0) == list(study.masks)
    assert studies.facts_of(0) == study.facts
    assert studies.description["notes"] == {"mask_vanished": 1}
    assert study.report.context is None
    files = sorted((tmp_path / "store" / "masks").rglob("*.png"))
    assert [Image.open(path).mode for path in files] == ["1", "1"]
    verify(tmp_path / "store", workers=0)
    assert not find_rejected(cast("Any", studies), progress=False)


def test_spacing_shrinks_with_the_image(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    source = Path(pydicom.data.get_testdata_file("CT_small.dcm"))
    item = record(tmp_path, 0, image=source)
    studies = make(card_of([item]), tmp_path, Settings(size=64, format="png"))
    assert studies[0].image.shape == (64, 64)
    assert studies.original_size(0) == (128, 128)
    # The file says 0.661468 mm.
    assert studies.spacing_mm(0) == pytest.approx((1.322936, 1.322936))
    assert studies.description["notes"] == {"outside_root": 1}


# Labels, splits, reports ------------------------------------------------------------


def test_uncertain_labels_stay_raw_and_are_decided_when_opened(tmp_path: Path) -> None:
    nan = float("nan")
    items = [record(tmp_path, i, labels=(-1.0, (nan, 0.0)[i % 2])) for i in range(4)]
    card = card_of(items, uncertain={"edema": 1.0, "*": nan})
    out = make(card, tmp_path).store
    table = pq.read_table(out / "index")
    assert str(table["labels"].to_pylist()[0]) == "[-1.0, nan]"
    studies, _ = open_store(out)
    assert studies[0].labels[0] == 1
    assert np.isnan(studies[0].labels[1])
    other, _ = open_store(out, uncertain=0.5)
    assert other.labels[:, 0].tolist() == [0.5] * 4
    assert other.fingerprint != studies.fingerprint
    with pytest.raises(ConfigError, match="labels among edema, effusion"):
        open_store(out, uncertain={"edma": 1.0})


def test_every_rule_is_a_column_and_one_that_fails_says_why(tmp_path: Path) -> None:
    def assign(records: Sequence[Record]) -> list[str]:
        return ["train", "test", "", "train"]

    def fail(records: Sequence[Record]) -> list[str]:
        raise DatasetNotFoundError("the list", "nothing", "download it")

    rules = {
        "published": SplitRule(assign, "image", "a paper", issues=("Too small.",)),
        "lost": SplitRule(fail, "patient", "a list"),
    }
    items = [record(tmp_path, i, view=("PA", "AP")[i % 2]) for i in range(4)]
    out = make(card_of(items, splits=rules), tmp_path).store
    studies, splits = open_store(out, split="published")
    assert studies.uids == ["u0", "u1", "u3"]
    assert splits == ["train", "test", "train"]
    assert open_store(out, split="published", views=["AP"])[0].uids == ["u1", "u3"]
    with pytest.raises(ConfigError, match="canonical, published; looked for: the list"):
        open_store(out, split="lost")
    with pytest.raises(DatasetNotFoundError, match="views AP, PA"):
        open_store(out, views=["LATERAL"])
    with pytest.raises(DatasetNotFoundError, match="vlpzoo prepare"):
        open_store(tmp_path)
    assert describe(out)["splits"]["published"]["issues"] == ["Too small."]


def test_reports_are_parsed_once_and_faults_of_theirs_noted(tmp_path: Path) -> None:
    (tmp_path / "odd.txt").write_bytes(b"FINDINGS: \x81 effusion.")
    texts = ["", tmp_path / "odd.txt", tmp_path / "gone.txt"]
    items = [record(tmp_path, i, text=text) for i, text in enumerate(texts)]
    studies = make(card_of([*items, record(tmp_path, 3)]), tmp_path)
    reports = list(studies.reports())
    assert reports[3].findings == "Small left effusion."
    assert reports[3].impression == "No edema."
    assert reports[3].context == (
        "There is small left pleural effusion. There is no edema."
    )
    assert studies.column("has_report") == [False, False, False, True]
    assert studies.column("notes")[2] == ["missing_report"]
    assert studies.description["notes"] == {
        "missing_report": 1,
        "unreadable_report": 1,
    }
    data = Prepared(str(studies.store))
    with pytest.raises(DataRejectedError, match="3 of 4 have none"):
        data.setup()
    data = Prepared(str(studies.store), on_error="skip")
    assert sum(len(source) for source in data.sources.values()) == 1


@pytest.mark.parametrize(
    "text",
    [
        Report("", findings="nan", impression="___"),
        "FINDINGS: XXXX. IMPRESSION: None",
        "EXAM: CHEST (PA)\nINDICATION: Effusion?\n",
    ],
)
def test_what_says_nothing_is_no_report(tmp_path: Path, text: Any) -> None:
    card = card_of([record(tmp_path, 0, text=text), record(tmp_path, 1)])
    raw = to_studies(card, list(card.read(tmp_path)))
    assert next(iter(raw.reports())).body == ""
    rejected = find_rejected(raw, progress=False)
    assert [(each.row, each.reason) for each in rejected] == [(2, "empty_report")]
    studies = make(card, tmp_path)
    assert studies.column("has_report") == [False, True]
    assert studies.column("context")[0] is None
    assert next(iter(studies.reports())).body == ""


# Rejects ----------------------------------------------------------------------------


def test_each_fault_is_counted_and_listed_under_its_name(tmp_path: Path) -> None:
    table = write_faulty_pairs(tmp_path / "raw", good=6)
    out = tmp_path / "store"
    store = prepare("pairs", partial(scan_pairs, table), out, SMALL, workers=0)
    # A report that says nothing is no reason to throw an image away.
    faults = [fault for fault in FAULTS if fault != "empty_report"]
    with (out / "rejects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["reason"] for row in rows] == faults
    assert rows[0]["uid"] == "images/006.jpg"
    assert store["rejected"] == dict.fromkeys(sorted(faults), 1)
    assert store["images"] == {"read": 16, "stored": 7, "rejected": 9}
    assert len(PreparedStudies(out)) == 7
    assert len(set(PreparedStudies(out).uids)) == 7
    verify(out, workers=0)


def test_bad_masks_and_pictures_of_absurd_size_are_rejected(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    write_image(bomb, 0)
    content = bytearray(bomb.read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    bomb.write_bytes(bytes(content))
    items = [
        record(tmp_path, 0, masks=(MaskRef("x", "rle_relative", "900 9"),)),
        record(tmp_path, 1, image=bomb),
        record(tmp_path, 2),
    ]
    studies = make(card_of(items), tmp_path)
    assert studies.uids == ["u2"]
    assert studies.description["rejected"] == {"bad_mask": 1, "too_large": 1}


def test_links_are_followed_and_those_that_leave_the_folder_counted(
    tmp_path: Path,
) -> None:
    inside, outside = tmp_path / "raw", tmp_path / "disk"
    items = [record(inside, 0), record(outside, 1)]
    (inside / "1.png").symlink_to(outside / "1.png")
    (inside / "2.png").symlink_to(inside / "0.png")
    linked = [
        record(outside, i, image=inside / f"{i}.png", uid=f"u{i}") for i in (1, 2)
    ]
    out = tmp_path / "store"
    card = card_of([items[0], *linked])
    store = prepare("made", partial(scan_card, card, inside), out, SMALL, workers=0)
    assert store["images"]["stored"] == 3
    assert store["notes"] == {"outside_root": 1}


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    items = [record(tmp_path, i) for i in range(2)]
    for item in items:
        item.image.unlink()
    with pytest.raises(DataRejectedError, match=r"none of 2 \(missing 2\)"):
        make(card_of(items), tmp_path)


# Interrupted, refused, damaged ------------------------------------------------------

KILLED = """
import multiprocessing, os, signal, sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from vlp_zoo.data.chest.nih14 import CARD
from vlp_zoo.data.store.prepare import prepare
from vlp_zoo.data.store.slices import Settings
from vlp_zoo.data.store.raw_sets import scan_card

def progress(done, total):
    if done > 10:
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    raw, out = map(Path, sys.argv[1:])
    settings = Settings(size=20, format="png", rows=5)
    scan = partial(scan_card, CARD, raw)
    prepare("nih14", scan, out, settings, workers=1, progress=progress)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole = nih_store(tmp_path, workers=0)
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    out = tmp_path / "killed"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "raw"), str(out)],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    workers = [int(pid) for pid in done.stdout.split()]
    assert len(workers) == 1
    assert wait_for(lambda: not alive(workers[0]))
    assert not (out / "store.json").exists()
    with pytest.raises(StoreError, match="run the same vlpzoo prepare command again"):
        describe(out)
    # Two parts were whole, and of the third something was begun.
    first = out / "index" / "part-00000.parquet"
    assert len(list((out / "index").glob("part-*.parquet"))) == 2
    assert [p for p in (out / "images").iterdir() if p.name.startswith(".")]
    (out / "index" / ".part-00002.parquet.x").write_text("half")
    (out / ".index.arrow.y").write_text("half")
    stamp = first.stat().st_mtime_ns
    seen: list[int] = []
    prepare(
        "nih14",
        partial(scan_card, CARD, tmp_path / "raw"),
        out,
        SMALL,
        workers=0,
        progress=lambda done, total: seen.append(done),
    )
    assert seen[0] == 10
    assert first.stat().st_mtime_ns == stamp
    assert tree(out) == tree(whole)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_full_disk_costs_nothing_that_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = nih_store(tmp_path, workers=0)
    out, scan = tmp_path / "full", partial(scan_card, CARD, tmp_path / "raw")
    write, written = Path.write_bytes, []

    def fill(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) > 7:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill)
        with pytest.raises(StoreError, match="No space left") as caught:
            prepare("nih14", scan, out, SMALL, workers=0)
    assert caught.value.do_this.startswith("make room")
    assert "the same command goes on from there" in caught.value.do_this
    written.clear()
    assert prepare("nih14", scan, out, SMALL, workers=0)["images"]["stored"] == 12
    assert tree(out) == tree(whole)


def test_a_folder_that_cannot_be_written_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nih14(tmp_path / "raw")
    scan = partial(scan_card, CARD, tmp_path / "raw")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="it is a file"):
        prepare("nih14", scan, tmp_path / "file", SMALL)
    with pytest.raises(StoreError, match="that you may write to"):
        prepare("nih14", scan, tmp_path / "file" / "below", SMALL)

    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreError, match="Permission denied"):
        prepare("nih14", scan, tmp_path / "new", SMALL)


def unread() -> RawSet:
    raise AssertionError("the raw data set was read")


def test_a_second_run_does_nothing_and_other_settings_are_refused(
    tmp_path: Path,
) -> None:
    out = nih_store(tmp_path, workers=0)
    before = tree(out)
    store = prepare("nih14", unread, out, SMALL)
    assert store == json.loads((out / "store.json").read_text())
    for name, settings in (("nih14", Settings(size=21, rows=5)), ("pairs", SMALL)):
        with pytest.raises(ConfigError, match="give another --out"):
            prepare(name, unread, out, settings)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match=r"such as thesis\.tex"):
        prepare("nih14", unread, tmp_path / "mine", SMALL)
    assert tree(out) == before


def test_an_unfinished_store_takes_no_other_data_and_no_second_writer(
    tmp_path: Path,
) -> None:
    write_nih14(tmp_path / "raw", faults=False)
    scan, out = partial(scan_card, CARD, tmp_path / "raw"), tmp_path / "store"

    def interrupt(done: int, total: int) -> None:
        if done > 6:
            with pytest.raises(StoreError, match="another vlpzoo prepare"):
                prepare("nih14", scan, out, SMALL, workers=0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("nih14", scan, out, SMALL, workers=0, progress=interrupt)
    table = tmp_path / "raw" / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace("No Finding", "Edema"))
    with pytest.raises(ConfigError, match="records_sha256"):
        prepare("nih14", scan, out, SMALL, workers=0)
    with pytest.raises(ConfigError, match="settings"):
        prepare("nih14", scan, out, Settings(size=21), workers=0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [("flip", "changed"), ("remove", "missing"), ("add", "1 files too many")],
)
def test_verify_finds_damage(tmp_path: Path, damage: str, message: str) -> None:
    out = nih_store(tmp_path, workers=0)
    # Images and the index with its parts.
    assert verify(out, workers=0) == 12 + 1 + 3
    victim = sorted((out / "images").rglob("*.png"))[7]
    if damage == "flip":
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        victim.write_bytes(bytes(content))
    elif damage == "remove":
        victim.unlink()
    else:
        (victim.parent / "99999.png").write_bytes(b"")
    with pytest.raises(StoreError, match=message) as caught:
        verify(out, workers=0)
    assert f"images/{victim.parent.name}" in caught.value.found


@pytest.mark.parametrize("name", ["index.arrow", "index/part-00001.parquet"])
def test_verify_finds_a_changed_index(tmp_path: Path, name: str) -> None:
    out = nih_store(tmp_path, workers=0)
    content = bytearray((out / name).read_bytes())
    content[len(content) // 2] ^= 1
    (out / name).write_bytes(bytes(content))
    with pytest.raises(StoreError, match=name):
        verify(out, workers=0)


def test_another_picture_at_its_place_is_never_read(tmp_path: Path) -> None:
    out = nih_store(tmp_path, workers=0)
    studies, _ = open_store(out)
    first, second = studies.images[:2]
    first.write_bytes(second.read_bytes())
    with pytest.raises(DataRejectedError, match="as it was prepared"):
        studies[0]
    with pytest.raises(DataRejectedError, match="as it was prepared"):
        studies.pixels(0)
    first.unlink()
    with pytest.raises(DataRejectedError, match="missing_image"):
        studies[0]
    assert studies[1].uid == studies.uids[1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda said: said.pop("splits"),
        lambda said: said.update(label_names="Edema"),
        lambda said: said.update(images=None),
    ],
)
def test_a_description_that_was_edited_is_one_message(
    tmp_path: Path, damage: Callable[[dict[str, Any]], object]
) -> None:
    out = nih_store(tmp_path, workers=0)
    said = json.loads((out / "store.json").read_text())
    damage(said)
    (out / "store.json").write_text(json.dumps(said))
    with pytest.raises(StoreError, match="the description of a prepared store"):
        open_store(out)


@pytest.mark.parametrize("content", [b"", b"ARROW1", None])
def test_an_index_that_is_cut_or_another_table_is_one_message(
    tmp_path: Path, content: bytes | None
) -> None:
    out = nih_store(tmp_path, workers=0)
    path = out / "index.arrow"
    if content is None:
        table = pa.table({"uid": ["a"]})
        with (
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as f,
        ):
            f.write_table(table)
    else:
        path.write_bytes(content)
    with pytest.raises(StoreError, match="the index of a prepared store"):
        open_store(out)


# Sharing with loader processes ------------------------------------------------------


def test_a_pickle_holds_row_numbers_only_and_opens_the_same_studies(
    tmp_path: Path,
) -> None:
    studies, _ = open_store(nih_store(tmp_path, workers=0))
    part = studies.subset([3, 1], "part")
    _ = part.uids, part.labels, part.fingerprint
    pickled = pickle.dumps(part)
    assert len(pickled) < 1500
    copy = pickle.loads(pickled)
    assert copy.name == "part"
    assert copy.uids == [studies.uids[3], studies.uids[1]]
    assert copy.fingerprint == part.fingerprint != studies.fingerprint
    assert np.array_equal(copy[0].image, studies[3].image)


def test_broken_images_are_left_out_of_the_store_only(tmp_path: Path) -> None:
    write_nih14(tmp_path / "raw")
    scan = partial(scan_card, CARD, tmp_path / "raw")
    store = prepare("nih14", scan, tmp_path / "store", SMALL, workers=0)
    assert store["rejected"] == {"truncated": 1}
    studies, splits = open_store(tmp_path / "store")
    raw, raw_splits = load(CARD, tmp_path / "raw")
    # Splits were assigned with the broken image among the others.
    by_uid = dict(zip(raw.uids, raw_splits, strict=True))
    assert splits == [by_uid[uid] for uid in studies.uids]
    assert set(raw.uids) - set(studies.uids) == {BROKEN}


# Every data set ---------------------------------------------------------------------


@pytest.mark.parametrize("name", DATASETS)
def test_a_store_of_any_data_set_says_what_its_reader_says(
    name: str, tmp_path: Path
) -> None:
    fake = importlib.import_module(f"tests.fakes.{name}")
    getattr(fake, f"write_{name}")(tmp_path / "raw", faults=True)
    card = card_by_name(name)
    out, settings = tmp_path / "store", Settings(10_000, format="png")
    scan = partial(scan_card, card, tmp_path / "raw")
    store = prepare(name, scan, out, settings, workers=0)
    records = list(card.read(tmp_path / "raw"))
    raw = to_studies(card, records)
    rejected = find_rejected(raw, need_report=False, progress=False)
    with (out / "rejects.csv").open(newline="") as file:
        listed = [(row["uid"], row["reason"]) for row in csv.DictReader(file)]
    assert listed == [(item.uid, item.reason) for item in rejected]

    studies = PreparedStudies(out)
    places = [raw.uids.index(uid) for uid in studies.uids]
    assert len(places) == len(records) - len(rejected)
    assert np.array_equal(studies.labels, raw.labels[places], equal_nan=True)
    for rule in ("canonical", *card.splits):
        if "left_out" in store["splits"][rule]:
            with pytest.raises((ConfigError, DatasetNotFoundError)):
                split_of(card, records, rule)
            continue
        splits = split_of(card, records, rule)
        assert studies.column(f"split_{rule}") == [splits[i] for i in places]
    noted = studies.column("notes")
    for index, place in enumerate(places):
        if "missing_report" in noted[index]:
            # The store keeps the image; the raw data set gives neither.
            with pytest.raises(DataRejectedError, match="missing_report"):
                raw[place]
            assert np.array_equal(raw.pixels(place), studies[index].image)
            continue
        old, new = raw[place], studies[index]
        assert np.array_equal(old.image, new.image)
        assert old.masks.keys() == new.masks.keys()
        for mask, pixels in old.masks.items():
            assert np.array_equal(pixels, new.masks[mask])
        assert replace(new.report, context=None) == old.report
        assert (new.boxes, new.view, new.patient_id) == (
            old.boxes,
            old.view,
            old.patient_id,
        )
        # As text, because NaN is not equal to itself.
        assert str(new.facts) == str(old.facts)
    verify(out, workers=0)
