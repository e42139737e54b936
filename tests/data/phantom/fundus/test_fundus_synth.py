"""``vlpzoo synth fundus`` and ``--data phantom_fundus``."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from tests.fakes.sources import NoisyTransform
from vlp_zoo.cli.synth import main
from vlp_zoo.data import DATAMODULES
from vlp_zoo.data.datamodules import PhantomFundus
from vlp_zoo.data.pairs import read_pairs
from vlp_zoo.data.phantom.folder import MARKER
from vlp_zoo.data.phantom.fundus.facts import LABELS
from vlp_zoo.data.phantom.fundus.sheet import write_contact_sheet
from vlp_zoo.data.phantom.fundus.source import PhantomFundusSource
from vlp_zoo.data.phantom.table import pair_columns
from vlp_zoo.errors import ConfigError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world") / "pairs"
    command = ["fundus", "--layout", "pairs", "--out", str(out), "--eyes", "both"]
    assert main([*command, "--studies", "20", "--image-size", "64"]) == 0
    return out


def test_pairs_layout(folder: Path) -> None:
    table = pd.read_csv(folder / "pairs.csv")
    assert tuple(table.columns) == pair_columns(PhantomFundusSource)
    assert len(table) == 40
    assert set(table["split"]) == {"train", "val", "test"}
    assert table.groupby("study_id")["eye"].nunique().eq(2).all()
    assert (table["findings"].notna() | table["impression"].notna()).all()
    card = json.loads((folder / MARKER).read_text())
    assert card["world"].startswith("phantom fundus")


def test_what_is_written_is_what_is_drawn(folder: Path) -> None:
    table = pd.read_csv(folder / "pairs.csv")
    source = PhantomFundusSource("train", 16, image_size=64, eyes="both")
    for index in (0, 5):
        row, study = table.iloc[index], source[index]
        stored = cv2.imread(str(folder / str(row["image"])))
        assert stored is not None
        change = stored[..., ::-1].astype(float) - study.image
        assert np.abs(change).mean() < 6
        paths = json.loads(str(row["masks"]))
        assert set(paths) == set(study.masks)
        for name, path in paths.items():
            pixels = cv2.imread(str(folder / path), cv2.IMREAD_UNCHANGED)
            assert pixels is not None
            np.testing.assert_array_equal(pixels > 0, study.masks[name])


def test_the_pairs_reader_reads_it(folder: Path) -> None:
    studies, splits = read_pairs(folder / "pairs.csv")
    assert splits is not None
    assert splits.count("train") == 32
    assert len(studies.label_names) == len(LABELS)
    source = PhantomFundusSource("train", 16, image_size=64, eyes="both")
    np.testing.assert_array_equal(studies.labels[:32], source.labels)
    study = studies[3]
    assert study.report.body == source[3].report.body
    assert [box.name for box in study.boxes] == [box.name for box in source[3].boxes]


def test_a_folder_is_never_overwritten_by_surprise(folder: Path) -> None:
    with pytest.raises(ConfigError, match="--overwrite"):
        main(["fundus", "--layout", "pairs", "--out", str(folder)])


@pytest.mark.slow
def test_contact_sheet(tmp_path: Path) -> None:
    source = PhantomFundusSource("train", 700, image_size=64)
    path = tmp_path / "sheet.png"
    assert tuple(write_contact_sheet(path, source, side=64)) == LABELS
    sheet = cv2.imread(str(path))
    assert sheet is not None
    assert sheet.shape[1] == 5 * 64
    assert (sheet[..., 2].astype(int) - sheet[..., 0]).mean() > 10


@pytest.mark.parametrize(
    "wrong",
    [
        ["fundus", "--layout", "mimic-cxr", "--out", "a"],
        ["fundus", "--layout", "pairs", "--out", "a", "--views", "all"],
        ["chest", "--layout", "pairs", "--out", "a", "--eyes", "both"],
    ],
    ids=" ".join,
)
def test_options_of_the_other_world_are_refused(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(wrong)
    assert stop.value.code == 2
    assert "in place of" in capsys.readouterr().err


def test_the_data_module_serves_batches_of_its_three_splits() -> None:
    assert DATAMODULES["phantom_fundus"].endswith(".PhantomFundus")
    data = PhantomFundus(
        train_studies=4,
        val_studies=2,
        test_studies=0,
        image_size=32,
        eyes="both",
        num_workers=0,
        batch_size=2,
    )
    assert list(data.sources) == ["train", "val"]
    assert data.label_names == LABELS
    assert sum(1 for _ in data.corpus()) == 8
    batches = list(data.make_loader("train", NoisyTransform(), train=True))
    assert len(batches) == 4
    assert tuple(batches[0]["image"].shape) == (2, 1, 32, 32, 3)
