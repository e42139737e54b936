"""A patient on two sides is refused before anything trains, whoever made the split."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.data.test_store import card_of, record
from tests.fakes.mimic_cxr import write_mimic_cxr
from tests.fakes.nih14 import write_nih14
from tests.fakes.pairs import write_pairs, write_table
from vlp_zoo.cli import main
from vlp_zoo.data import datamodules, official
from vlp_zoo.data.catalogue import load
from vlp_zoo.data.datamodules import Pairs, Prepared
from vlp_zoo.data.records import SplitRule
from vlp_zoo.data.store.prepare import prepare
from vlp_zoo.data.store.raw_sets import scan_card, scan_pairs
from vlp_zoo.data.store.slices import Settings
from vlp_zoo.errors import ConfigError, PatientLeakError


def table(folder: Path, patients: list[str], splits: list[str]) -> Path:
    _, rows = write_pairs(folder, len(patients))
    for row, patient, split in zip(rows, patients, splits, strict=True):
        row |= {"patient_id": patient, "split": split}
    return write_table(folder / "t.csv", rows)


SPLITS = ["train", "train", "val", "test"]


@pytest.mark.parametrize(
    ("patients", "said"),
    [
        (["a", "b", "c", "a"], "1 patients in several: a"),
        (["a", "b", "b", "c"], "1 patients in several: b"),
        (["10.0", "b", "c", "10"], "1 patients in several: 10"),
        (["P 1", "b", "c", " p  1"], "1 patients in several: P 1 = p  1"),
    ],
)
def test_a_table_that_puts_a_patient_on_two_sides(
    tmp_path: Path, patients: list[str], said: str
) -> None:
    path = table(tmp_path, patients, SPLITS)
    for attempt in (Pairs(str(path)).setup, partial(scan_pairs, path)):
        with pytest.raises(PatientLeakError) as caught:
            attempt()
        assert caught.value.found == said


def test_zeros_in_front_and_other_words_are_other_patients(tmp_path: Path) -> None:
    path = table(tmp_path, ["007", "b", "7", "v1.0"], SPLITS)
    sources = Pairs(str(path)).sources
    assert [sources[name].patient_ids for name in ("train", "val", "test")] == [
        ["007", "b"],
        ["7"],
        ["v1.0"],
    ]


def test_fit_refuses_before_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = table(tmp_path, ["a", "b", "c", "a"], SPLITS)
    words = ["fit", "--config", "demo/clip", "--data", "pairs", f"--data.path={path}"]
    assert main([*words, "--out", str(tmp_path / "runs")]) == 1
    assert "1 patients in several: a" in capsys.readouterr().err


def test_a_split_column_needs_rows_for_training(tmp_path: Path) -> None:
    path = table(tmp_path, ["a", "b", "c", "d"], ["val", "test", "test", "test"])
    with pytest.raises(ConfigError) as caught:
        Pairs(str(path)).setup()
    assert caught.value.found == "test 3, val 1"


def test_shares_that_a_split_column_overrules_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path, ["a", "b", "c", "d"], SPLITS)
    for options in ({"val_fraction": 0.3}, {"test_fraction": 0}, {"split_seed": 1}):
        with pytest.raises(ConfigError, match="says itself how it is split"):
            Pairs(str(path), **options).setup()


@pytest.mark.parametrize("legacy", [True, False])
def test_stores_keep_what_their_rule_declares(
    tmp_path: Path, legacy: bool, caplog: pytest.LogCaptureFixture
) -> None:
    items = [record(tmp_path, i, patient_id="p") for i in range(3)]
    rule = SplitRule(
        lambda _: SPLITS[1:],
        level="image",
        source="a paper",
        issues=("The patient is everywhere.",),
        # A store of an older version, or one whose table changed sides since.
        legacy=True,
    )
    card = card_of(items, splits={"published": rule})
    out = tmp_path / "store"
    prepare(
        "made", partial(scan_card, card, tmp_path), out, Settings(24, "short", "png")
    )
    if legacy:
        with caplog.at_level(logging.WARNING):
            assert len(Prepared(str(out), split="published").sources) == 3
            load(card, tmp_path, split="published")
        assert "The patient is everywhere." in caplog.text
        return
    description = out / "store.json"
    text = description.read_text()
    assert text.count('"legacy": true') == 1
    description.write_text(text.replace('"legacy": true', '"legacy": false'))
    with pytest.raises(PatientLeakError, match="split published"):
        Prepared(str(out), split="published").setup()


def change(path: Path, swap: Callable[[str], str]) -> None:
    text = gzip.decompress(path.read_bytes()).decode()
    path.write_bytes(gzip.compress(swap(text).encode()))


def test_a_split_file_of_mimic_that_was_changed(tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path, faults=False)
    assert datamodules.MIMICCXR is official.MIMICCXR
    datamodules.MIMICCXR(str(tmp_path)).setup()
    change(
        tmp_path / "mimic-cxr-2.0.0-split.csv.gz",
        lambda text: text.replace("train", "test", 1),
    )
    with pytest.raises(PatientLeakError, match="10000000"):
        official.MIMICCXR(str(tmp_path)).setup()
    change(
        tmp_path / "mimic-cxr-2.0.0-split.csv.gz",
        lambda text: text.replace("validate", "holdout"),
    )
    with pytest.raises(FileNotFoundError, match="'holdout'"):
        official.MIMICCXR(str(tmp_path)).setup()


def test_lists_of_images_never_part_a_patient(tmp_path: Path) -> None:
    write_nih14(tmp_path)
    names = (tmp_path / "train_val_list.txt").read_text().split()
    (tmp_path / "test_list.txt").write_text("\n".join(names[:1]))
    (tmp_path / "train_val_list.txt").write_text("\n".join(names[1:]))
    data = official.nih14(str(tmp_path), split="official", precheck=False)
    sides = [set(source.patient_ids) for source in data.sources.values()]
    assert len(set.union(*sides)) == sum(map(len, sides))
