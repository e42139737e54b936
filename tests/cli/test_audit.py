from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import cv2
import pytest

from tests.fakes.leaky_pairs import write_clean_pairs, write_leaky_pairs
from tests.fakes.nih14 import BROKEN, write_nih14
from vlp_zoo.cli import main


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))


def _run(tmp_path: Path, *arguments: str) -> int:
    return main(["audit", *arguments, "--out", str(tmp_path / "out")])


def test_leaks_are_written_shown_and_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = write_leaky_pairs(tmp_path / "data", studies=14)
    assert _run(tmp_path, "--data", f"pairs:{path}") == 3
    printed = capsys.readouterr().out
    assert "leak: 1 patient in both train and val" in printed
    assert "train/00.png = test/exact.png" in printed
    assert "found: 6 leaks, 2 twins, 1 contradiction, 2 unreadable" in printed
    report = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert (report["schema"], report["passed"]) == (1, False)
    assert report["counts"]["leak"] == 6
    pair = next(f for f in report["findings"] if f["kind"] == "copies")
    assert {i["uid"] for i in pair["images"]} == {"train/00.png", "test/exact.png"}
    assert pair["pairs"][0]["kind"] == "exact"
    labels = report["datasets"]["pairs:pairs.csv"]["splits"]["train"]["labels"]
    assert labels["edema"]["positive"] + labels["edema"]["negative"] == 16


def test_the_page_is_one_file_with_pictures(tmp_path: Path) -> None:
    path, rows = write_leaky_pairs(tmp_path / "<data>", studies=14)
    _run(tmp_path, "--data", f"pairs:{path}", "--fail-on", "never")
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "http" not in page
    assert "<script" not in page
    assert "prefers-color-scheme: dark" in page
    assert "<data>" not in page
    assert "&lt;data&gt;" in page
    # Two for each of seven pairs, and for the contradiction again.
    assert len(re.findall(r'<img src="data:image/jpeg;base64,', page)) == 16
    assert "truncated" in page
    assert rows[0]["patient_id"] in page


@pytest.mark.parametrize(
    ("fail_on", "code"),
    [("leak", 0), ("twin", 0), ("contradiction", 0), ("unreadable", 3), ("never", 0)],
)
def test_only_findings_that_bad_or_worse_fail(
    tmp_path: Path, fail_on: str, code: int
) -> None:
    path, rows = write_clean_pairs(tmp_path / "data", studies=6)
    (path.parent / rows[0]["image"]).write_bytes(b"")
    assert _run(tmp_path, "--data", f"pairs:{path}", "--fail-on", fail_on) == code


@pytest.mark.slow
def test_a_mark_at_the_border_is_a_strong_shortcut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, rows = write_clean_pairs(tmp_path / "data", studies=40)
    assert _run(tmp_path, "--data", f"pairs:{path}") == 0
    assert "clean: nothing found" in capsys.readouterr().out
    page = tmp_path / "out" / "audit.html"
    assert 'class="grade clean"' in page.read_text()
    for row in rows:
        if row["label_edema"] == "1":
            file = str(path.parent / row["image"])
            pixels = cv2.imread(file, cv2.IMREAD_GRAYSCALE)
            assert pixels is not None
            pixels[4:16, -16:-4] = 255
            cv2.imwrite(file, pixels)
    assert _run(tmp_path, "--data", f"pairs:{path}") == 0
    printed = capsys.readouterr().out
    assert "shortcut: edema of pairs:pairs.csv" in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("shortcut")]
    assert "corner top right" in line
    assert "found: 1 strong shortcut" in printed
    assert 'class="grade clean"' not in page.read_text()


def test_a_listed_data_set_and_an_encoder_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_nih14(tmp_path / "nih")
    card = tmp_path / "encoder.json"
    card.write_text(json.dumps({"pretraining_sources": ["rsna", "chexpert"]}))
    data = f"nih14:{tmp_path / 'nih'}"
    code = _run(
        tmp_path, "--data", data, "--split", "official", "--encoder-card", str(card)
    )
    assert code == 0
    printed = capsys.readouterr().out
    assert "encoder: shares images with nih14 (rsna > nih14)" in printed
    assert "the encoder has seen images of nih14" in printed
    assert f"unreadable: truncated: {tmp_path}" in printed
    assert BROKEN in printed


def test_a_drawn_world_is_clean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--studies", "12", "6", "6")
    assert _run(tmp_path, "--data", "phantom_chest", *small) == 0
    assert "clean: nothing found" in capsys.readouterr().out


def test_a_table_without_reports_is_enough(tmp_path: Path) -> None:
    path, _ = write_clean_pairs(tmp_path, studies=6)
    with path.open() as file:
        assert "findings" not in next(csv.reader(file))
    assert _run(tmp_path, "--data", f"pairs:{path}", "--no-crops") == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "at least one --data"),
        (["--frobnicate"], "--frobnicate"),
        (["--data", "nih41:x"], "did you mean"),
        (["--data", "pairs"], "pairs:TABLE.csv"),
        (["--data", "phantom_chest:x"], "write phantom_chest"),
        (["--data", "pairs:none.csv"], "none.csv"),
        (["--data", "phantom_chest", "--split", "official"], "leave --split out"),
        (["--data", "phantom_chest", "--encoder-card", "none.json"], "none.json"),
    ],
    ids=str,
)
def test_a_mistake_is_one_message(
    tmp_path: Path,
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _run(tmp_path, *arguments) == 1
    error = capsys.readouterr().err
    assert words in error
    assert "do this:" in error
    assert "Traceback" not in error


def test_a_card_that_names_no_source_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = tmp_path / "card.json"
    card.write_text("{}")
    assert _run(tmp_path, "--data", "phantom_chest", "--encoder-card", str(card)) == 1
    assert "pretraining_sources" in capsys.readouterr().err
