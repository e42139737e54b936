"""Options that a kind of data does not read are refused by name, never passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.mimic_cxr import write_mimic_cxr
from tests.fakes.pairs import write_pairs
from vlp_zoo.bench.tasks import build_task, options_of
from vlp_zoo.cli import main
from vlp_zoo.data import DATASETS
from vlp_zoo.errors import ConfigError

FILES = {"split", "views", "blank", "on_error"}


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def test_each_kind_says_what_it_reads() -> None:
    assert set(options_of("phantom_chest")) == {"studies", "image_size"}
    assert "label_prefix" in options_of("pairs:t.csv")
    assert all(set(options_of(f"{name}:DIR")) == FILES for name in DATASETS)
    assert set(options_of("mine.py:DIR")) == FILES
    both = options_of("phantom_chest->nih14:DIR")
    assert set(both) == {"studies", "image_size", *FILES}


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("phantom_chest", "--views LATERAL"),
        ("phantom_chest", "--split official --blank zero"),
        ("phantom_fundus", "--on-error skip"),
        ("phantom_fundus_grades", "--ordinal"),
        ("pairs:t.csv", "--split official"),
        ("pairs:t.csv", "--blank nan"),
        ("pairs:t.csv", "--studies 4 4 4 --image-size 32"),
        ("mimic_cxr:DIR", "--label-prefix y_"),
        ("mimic_cxr:DIR", "--val-fraction 0.2"),
        ("nih14:DIR", "--colour"),
        ("mured:DIR", "--exclusive"),
        ("nih14:DIR->chexpert:DIR", "--image-size 64"),
    ],
)
def test_bench_names_what_would_change_nothing(
    capsys: pytest.CaptureFixture[str], task: str, words: str
) -> None:
    call = ["bench", "--encoder", "random:micro", "--task", task, *words.split()]
    message = refused(capsys, *call)
    for option in words.split():
        if option.startswith("--"):
            assert option in message.split("found:")[1]
    assert "which would change nothing" in message


def test_wrong_values_of_what_mimic_reads_come_with_the_choices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mimic_cxr(tmp_path, faults=False)
    call = ["bench", "--encoder", "random:micro", "--task", f"mimic_cxr:{tmp_path}"]
    message = refused(capsys, *call, "--split", "nonsense")
    assert "the known ones are official, canonical" in message
    message = refused(capsys, *call, "--views", "PA", "OBLIQUE")
    assert "views among AP, FRONTAL, LATERAL, PA" in message
    assert "'OBLIQUE'" in message


def test_options_that_mimic_reads_change_what_is_read(tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path, studies=40, faults=False)
    name = f"mimic_cxr:{tmp_path}"
    frontal = build_task(name, min_positives=0)
    views = {v for s in frontal.splits.values() for v in getattr(s, "views", ["PA"])}
    assert views <= {"PA", "AP"}
    lateral = build_task(name, views=["LATERAL"], min_positives=0)
    assert not set(frontal.splits["test"].uids) & set(lateral.splits["test"].uids)
    blank = build_task(name, blank="zero", min_positives=0)
    assert blank.data_sha256 != frontal.data_sha256
    # Stored results are found under these: the task as it was before it had options.
    assert frontal.split_sha256.startswith("82ed4e8c22f1b374")
    assert build_task(name, split="canonical", min_positives=0).split_sha256 == (
        frontal.split_sha256
    )


def test_a_suite_says_itself_how_its_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["bench", "--encoder", "random:micro", "--suite", "phantom-chest"]
    for words in ("--preset vlp-knn", "--min-positives 3", "--studies 4 4 4"):
        assert words.split()[0] in refused(capsys, *call, *words.split())
    assert "--on-error" in refused(capsys, *call, "--on-error", "skip")
    message = refused(capsys, *call, "--root", f"nih14={tmp_path}")
    assert "nih14, which no --suite reads" in message
    task = ["bench", "--encoder", "random:micro", "--task", "phantom_chest"]
    assert "which no --suite reads" in refused(capsys, *task, "--root", "nih14=x")


def test_a_rule_of_one_side_is_for_the_side_that_knows_it(tmp_path: Path) -> None:
    path, _ = write_pairs(tmp_path, 60)
    task = f"pairs:{path}->mimic_cxr:{tmp_path}"
    with pytest.raises(ConfigError, match="known to neither"):
        build_task(task, split="nonsense")


def test_audit_and_prepare_refuse_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = write_pairs(tmp_path, 4)
    audit = ["audit", "--data", f"pairs:{path}"]
    assert "--studies" in refused(capsys, *audit, "--studies", "4", "4", "4")
    drawn = ["audit", "--data", "phantom_chest", "--label-prefix", "y_"]
    assert "--label-prefix" in refused(capsys, *drawn)
    out = ["--out", str(tmp_path / "store")]
    pairs = ["prepare", "pairs", "--path", str(path), "--root", str(tmp_path), *out]
    assert "--root, which would change nothing" in refused(capsys, *pairs)
    nih = ["prepare", "nih14", "--root", str(tmp_path), "--image-root", "x", *out]
    assert "--image-root, which would change nothing" in refused(capsys, *nih)
