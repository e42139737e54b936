"""Files by name, frames from headers, and two-step splits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.fakes.radiographs import cut, paint, write_dicom
from vlp_zoo.data.chest.radiographs import (
    files_by_stem,
    fitted,
    frame_of,
    two_step_split,
)
from vlp_zoo.types import Box


def test_the_first_folder_wins_and_dicom_in_a_folder(tmp_path: Path) -> None:
    for name in ("a/1.2.3.png", "a/1.2.3.dcm", "a/7.jpg", "b/7.dcm", "b/deep/9.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    # What a Mac puts beside every file, and a table.
    for name in ("a/._8.png", "a/8.csv"):
        (tmp_path / name).touch()
    folders = [tmp_path / name for name in ("none", "a", "b")]
    files = files_by_stem(folders)
    found = {stem: str(path.relative_to(tmp_path)) for stem, path in files.items()}
    assert found == {"1.2.3": "a/1.2.3.dcm", "7": "a/7.jpg"}
    assert set(files_by_stem(folders, deep=True)) == {"1.2.3", "7", "9"}


def test_frames_come_from_headers_of_copies_only(tmp_path: Path) -> None:
    paint(tmp_path / "a.jpg", 0, (30, 20))
    cut(tmp_path / "a.jpg")
    write_dicom(tmp_path / "b.dcm", 0)
    (tmp_path / "c.png").write_text("no picture")
    assert frame_of(tmp_path / "a.jpg") == (30, 20)
    for name in ("b.dcm", "c.png", "missing.png"):
        assert frame_of(tmp_path / name) is None
    box = Box("x", (2.0, 3.0, 4.0, 6.0), "lesion")
    (smaller,) = fitted([box], (60, 80), tmp_path / "a.jpg")
    assert smaller == Box("x", (0.5, 1.5, 1.0, 3.0), "lesion")
    assert fitted([box], (60, 80), tmp_path / "b.dcm") == (box,)
    assert fitted([], (60, 80), tmp_path / "a.jpg") == ()


def test_two_steps_and_which_half_is_which() -> None:
    first = two_step_split(100, held_out=0.3, seed=0, test_first=True)
    assert Counter(first) == {"train": 70, "val": 15, "test": 15}
    other = two_step_split(100, held_out=30, seed=0, test_first=False)
    swapped = {"train": "train", "val": "test", "test": "val"}
    assert [swapped[name] for name in other] == first
    classes = [int(i < 40) for i in range(100)]
    even = two_step_split(100, held_out=0.3, seed=0, test_first=True, strata=classes)
    assert Counter(even[:40]) == {"train": 28, "val": 6, "test": 6}
    assert even != first
