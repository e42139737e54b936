"""``vlpzoo synth``: official layout, same bytes, safe folders, a picture."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from vlp_zoo.cli.synth import main
from vlp_zoo.data.phantom.chest.facts import LABELS
from vlp_zoo.data.phantom.chest.sheet import write_contact_sheet
from vlp_zoo.data.phantom.chest.source import PhantomChestSource
from vlp_zoo.data.phantom.folder import MARKER, split_sizes
from vlp_zoo.data.phantom.table import pair_columns
from vlp_zoo.errors import ConfigError

METADATA_COLUMNS = (
    "dicom_id",
    "subject_id",
    "study_id",
    "PerformedProcedureStepDescription",
    "ViewPosition",
    "Rows",
    "Columns",
    "StudyDate",
    "StudyTime",
    "ProcedureCodeSequence_CodeMeaning",
    "ViewCodeSequence_CodeMeaning",
    "PatientOrientationCodeSequence_CodeMeaning",
)
"""The columns of MIMIC-CXR-JPG 2.0.0."""

SMALL = ["--studies", "24", "--image-size", "48"]


def _digest(root: Path) -> str:
    seen = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file():
            seen.update(path.relative_to(root).as_posix().encode())
            seen.update(path.read_bytes())
    return seen.hexdigest()


@pytest.fixture(scope="module")
def mimic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world") / "mimic"
    layout = ["chest", "--layout", "mimic-cxr", "--views", "all", "--out", str(out)]
    assert main([*layout, *SMALL]) == 0
    return out


def _table(root: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(
        root / f"mimic-cxr-2.0.0-{name}.csv.gz", dtype={"StudyDate": str}
    )


def test_official_tables(mimic: Path) -> None:
    metadata, split = _table(mimic, "metadata"), _table(mimic, "split")
    assert tuple(metadata.columns) == METADATA_COLUMNS
    assert list(split.columns) == ["dicom_id", "study_id", "subject_id", "split"]
    assert set(split["split"]) == {"train", "validate", "test"}
    assert set(metadata["ViewPosition"].dropna()) <= {"PA", "AP", "LATERAL"}
    assert (metadata["dicom_id"] == split["dicom_id"]).all()
    assert metadata["StudyDate"].str.fullmatch(r"2[12]\d{6}").all()
    per_person = split.groupby("subject_id")["split"].nunique()
    assert (per_person == 1).all()
    for name in ("chexpert", "negbio"):
        labels = _table(mimic, name)
        assert list(labels.columns) == ["subject_id", "study_id", *LABELS]
        assert len(labels) == 24
        assert set(labels[list(LABELS)].stack().dropna()) <= {-1.0, 0.0, 1.0}
        assert labels[list(LABELS)].isna().any().any()
        assert set(labels["No Finding"].dropna()) <= {1.0}


def test_official_paths(mimic: Path) -> None:
    metadata = _table(mimic, "metadata")
    for row in metadata.itertuples():
        subject, study = str(row.subject_id), str(row.study_id)
        assert len(subject) == len(study) == 8
        assert (subject[0], study[0]) == ("1", "5")
        person = mimic / "files" / f"p{subject[:2]}" / f"p{subject}"
        image = cv2.imread(
            str(person / f"s{study}" / f"{row.dicom_id}.jpg"), cv2.IMREAD_UNCHANGED
        )
        assert image is not None
        assert image.shape == (48, 48)
        assert "FINAL REPORT" in (person / f"s{study}.txt").read_text()
    assert len(list(mimic.rglob("*.jpg"))) == len(metadata)


def test_labels_are_those_of_the_text(mimic: Path) -> None:
    chexpert = _table(mimic, "chexpert").set_index("study_id")
    source = PhantomChestSource("test", split_sizes(24)["test"], views="all")
    for index in range(len(source)):
        mentioned = source.written(index).mentioned
        study = int(source.study_ids[index])
        for label in LABELS:
            if label != "No Finding":
                expected = mentioned.get(label, np.nan)
                found = chexpert[label].to_dict()[study]
                np.testing.assert_equal(float(found), expected)


def test_same_seed_same_bytes(mimic: Path, tmp_path: Path) -> None:
    layout = ["chest", "--layout", "mimic-cxr", "--views", "all"]
    main([*layout, "--out", str(tmp_path / "again"), *SMALL])
    assert _digest(tmp_path / "again") == _digest(mimic)
    main([*layout, "--out", str(tmp_path / "other"), "--seed", "1", *SMALL])
    assert _digest(tmp_path / "other") != _digest(mimic)
    with gzip.open(mimic / "mimic-cxr-2.0.0-split.csv.gz") as table:
        assert table.readline().startswith(b"dicom_id")


def test_a_folder_is_never_overwritten_by_surprise(tmp_path: Path) -> None:
    out = tmp_path / "world"
    command = ["chest", "--layout", "pairs", "--out", str(out), "--studies", "4"]
    command += ["--image-size", "32"]
    assert main(command) == 0
    with pytest.raises(ConfigError, match="--overwrite"):
        main(command)
    (out / "images" / "left_over.jpg").write_bytes(b"")
    (out / "mine.txt").write_text("keep")
    assert main([*command, "--overwrite"]) == 0
    assert not (out / "images" / "left_over.jpg").exists()
    assert (out / "mine.txt").read_text() == "keep"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"thesis\.tex"):
        main([*command[:4], str(foreign), "--overwrite"])
    assert [path.name for path in foreign.iterdir()] == ["thesis.tex"]


def test_pairs_layout(tmp_path: Path) -> None:
    out = tmp_path / "pairs"
    main(["chest", "--layout", "pairs", "--out", str(out), *SMALL])
    table = pd.read_csv(out / "pairs.csv")
    assert tuple(table.columns) == pair_columns(PhantomChestSource)
    assert len(table) == 24
    assert set(table["split"]) == {"train", "val", "test"}
    assert all((out / name).is_file() for name in table["image"])
    assert (table["findings"].notna() | table["impression"].notna()).all()
    card = json.loads((out / MARKER).read_text())
    assert card["layout"] == "pairs"


def test_contact_sheet(tmp_path: Path) -> None:
    source = PhantomChestSource("train", 250, image_size=64, views="all")
    path = tmp_path / "sheet.png"
    labels = write_contact_sheet(path, source, side=64)
    assert set(LABELS) | {"Lateral view"} == set(labels)
    sheet = cv2.imread(str(path))
    assert sheet is not None
    assert sheet.shape[1] == 5 * 64
    assert len(np.unique(sheet)) > 20


def test_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["chest"], ["chest", "--layout", "pairs"], ["brain"]):
        with pytest.raises(SystemExit) as stop:
            main(wrong)
        assert stop.value.code == 2
    assert "--contact-sheet" in capsys.readouterr().err
