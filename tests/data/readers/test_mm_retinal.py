"""MM-Retinal: three kinds, endings that the tables do not tell, captions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.mm_retinal import BROKEN, write_mm_retinal
from vlp_zoo.data.catalogue import load
from vlp_zoo.data.fundus.mm_retinal import CARD
from vlp_zoo.errors import DatasetNotFoundError


def test_endings_are_looked_up(tmp_path: Path) -> None:
    write_mm_retinal(tmp_path)
    records = list(CARD.read(tmp_path))
    assert [record.image.name for record in records] == [
        *("1-1a.png", "1-1A.jpg", "1-2.png", "3-15.jpeg"),
        *("2-1.png", "2-2.jpg", "2-3.png"),
        "4-1.png",
    ]
    assert all(record.image.is_file() for record in records)
    assert records[0].text == 'Figure 1-1a, "soft" drusen.\nBoth eyes.'
    assert records[7].facts == {"modality": "OCT", "panels": "0"}


def test_views_are_kinds(tmp_path: Path) -> None:
    write_mm_retinal(tmp_path)
    studies, _ = load(CARD, tmp_path, views=["CFP"])
    assert set(studies.views) == {"CFP"}
    assert len(studies) == 4
    assert "drusen" in studies[0].report.body


def test_names_with_their_ending_and_kinds_that_are_not_there(tmp_path: Path) -> None:
    write_mm_retinal(tmp_path)
    table = tmp_path / "CFP_translated_v1.csv"
    text = table.read_text(encoding="utf-8-sig")
    table.write_text(text.replace("1-2,", "1-2.png,").replace("3-15,", "9-9,"))
    (tmp_path / "OCT_translated_v1.csv").unlink()
    records = list(CARD.read(tmp_path))
    assert records[2].uid == "CFP/1-2"
    assert records[2].image.is_file()
    assert len(records) == 7
    assert rejected(CARD, tmp_path) == [("CFP/9-9", "missing"), (BROKEN, "truncated")]


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"CFP_translated_v1\.csv"):
        list(CARD.read(tmp_path))
    (tmp_path / "FFA_translated_v1.csv").write_text("Image_ID,caption\n")
    with pytest.raises(DatasetNotFoundError, match="columns en_caption"):
        list(CARD.read(tmp_path))
