"""Unusable rows are found, listed, counted, and looked for only once."""

from __future__ import annotations

import csv
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.fakes.pairs import FAULTS, write_faulty_pairs, write_image, write_pairs
from vlp_zoo.data import precheck
from vlp_zoo.data.datamodules import Pairs
from vlp_zoo.data.pairs import read_pairs
from vlp_zoo.data.precheck import find_rejected, usable
from vlp_zoo.errors import ConfigError, DataRejectedError
from vlp_zoo.files import cache_folder, write_whole


def test_each_fault_is_found_under_its_name(tmp_path: Path) -> None:
    studies, _ = read_pairs(write_faulty_pairs(tmp_path, good=6))
    rejected = find_rejected(studies, progress=False)
    assert [item.reason for item in rejected] == FAULTS
    assert [item.row for item in rejected] == list(range(8, 8 + len(FAULTS)))
    assert rejected[0].path == str(tmp_path / "images" / "006.jpg")
    assert rejected[0].uid == "images/006.jpg"


def test_raise_counts_and_lists(tmp_path: Path) -> None:
    path = write_faulty_pairs(tmp_path)
    rejects = tmp_path / "out" / "rejects.csv"
    data = Pairs(str(path), rejects_path=str(rejects))
    with pytest.raises(DataRejectedError) as caught:
        data.prepare_data()
    assert f"{len(FAULTS)} of 16 rows unusable" in caught.value.found
    assert "truncated 1" in caught.value.found
    assert str(rejects) in caught.value.found
    assert "--data.on_error skip" in caught.value.do_this
    with rejects.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["reason"] for row in rows] == FAULTS
    assert list(rows[0]) == ["uid", "row", "path", "reason"]


def test_skip_goes_on_without_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_faulty_pairs(tmp_path, good=6)
    data = Pairs(str(path), on_error="skip", val_fraction=0, test_fraction=0)
    data.setup()
    assert data.sources["train"].uids == [f"images/{i:03d}.jpg" for i in range(6)]
    assert "going on without them" in caplog.text
    for index in range(6):
        assert data.sources["train"][index].image.shape == (24, 32)


def test_images_of_one_line_of_a_table_are_judged_apart(tmp_path: Path) -> None:
    path, _ = write_pairs(tmp_path, n=4)
    studies, _ = read_pairs(path)
    studies.rows = [2, 2, 3, 3]
    Path(studies.images[1]).unlink()
    assert usable(studies, on_error="skip", progress=False) == [0, 2, 3]


def test_the_second_start_only_asks_for_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_faulty_pairs(tmp_path)
    kept = usable(read_pairs(path)[0], on_error="skip")
    with monkeypatch.context() as patch:
        patch.setattr(precheck, "find_rejected", None)
        assert usable(read_pairs(path)[0], on_error="skip") == kept
    # A mended file of the same size is noticed by its time.
    mended = tmp_path / "images" / "008.jpg"
    size = mended.stat().st_size
    write_image(mended, 8)
    mended.write_bytes(mended.read_bytes().ljust(size, b"\0"))
    os.utime(mended, ns=(1, 1))
    assert len(usable(read_pairs(path)[0], on_error="skip")) == len(kept) + 1


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    studies, _ = read_pairs(write_faulty_pairs(tmp_path))
    kept = usable(studies, on_error="skip")
    (cached,) = (cache_folder() / "precheck").glob("*.json")
    for content in ("", "[[1]]", '{"a": 1}'):
        cached.write_text(content)
        assert usable(studies, on_error="skip") == kept


def check(path: Path) -> int:
    return len(usable(read_pairs(path)[0], on_error="skip", progress=False))


def test_two_processes_may_check_at_once(tmp_path: Path) -> None:
    path = write_faulty_pairs(tmp_path, good=6)
    # An executor ends its processes by a message; a pool's SIGTERM may not reach them.
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        assert list(pool.map(check, [path] * 4)) == [6] * 4
    files = list((cache_folder() / "precheck").iterdir())
    assert sorted(file.suffix for file in files) == [".csv", ".json"]


def test_nothing_left_raises_even_when_skipping(tmp_path: Path) -> None:
    path, _ = write_pairs(tmp_path, 2)
    for image in (tmp_path / "images").iterdir():
        image.unlink()
    with pytest.raises(DataRejectedError, match="2 of 2"):
        usable(read_pairs(path)[0], on_error="skip")
    with pytest.raises(ConfigError, match="'ignore'"):
        usable(read_pairs(path)[0], on_error="ignore")


def test_without_the_check_the_bad_file_itself_is_named(tmp_path: Path) -> None:
    path = write_faulty_pairs(tmp_path)
    data = Pairs(str(path), precheck=False, val_fraction=0, test_fraction=0)
    source = data.sources["train"]
    assert len(source) == 6 + len(FAULTS)
    with pytest.raises(DataRejectedError, match=r"008\.jpg"):
        _ = source[8]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError, match="folder"):
        write_whole(target, "text")
    assert list(tmp_path.iterdir()) == [target]


def test_an_unforeseen_error_costs_its_row_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vlp_zoo.data import precheck

    def odd(studies: object, index: int, need_report: bool) -> None:
        if index == 1:
            raise ZeroDivisionError("odd")

    class Three:
        uids = ("a", "b", "c")
        rows = (2, 3, 4)
        images = ("a.png", "b.png", "c.png")

        def __len__(self) -> int:
            return 3

    monkeypatch.setattr(precheck, "_known_reason", odd)
    found = precheck.find_rejected(Three(), progress=False)  # type: ignore[arg-type]
    assert [(e.uid, e.reason) for e in found] == [("b", "unforeseen ZeroDivisionError")]

    def full(studies: object, index: int, need_report: bool) -> None:
        raise MemoryError

    monkeypatch.setattr(precheck, "_known_reason", full)
    with pytest.raises(MemoryError):
        precheck.find_rejected(Three(), progress=False)  # type: ignore[arg-type]
