"""FLAIR's assembly: tables of words, read and never run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.flair import BROKEN, write_flair
from vlp_zoo.data.catalogue import load
from vlp_zoo.data.fundus.flair import CARD
from vlp_zoo.errors import ConfigError, DatasetNotFoundError


def test_words_become_a_caption(tmp_path: Path) -> None:
    write_flair(tmp_path)
    records = list(CARD.read(tmp_path))
    assert len(records) == 6
    assert all(record.image.is_file() for record in records)
    assert [record.text for record in records[:3]] == [
        "A fundus photograph of mild diabetic retinopathy, hard exudates.",
        "A fundus photograph of normal, noisy.",
        "A fundus photograph.",
    ]
    assert records[0].facts["categories"] == (
        "mild diabetic retinopathy",
        "hard exudates",
    )
    assert records[5].facts["attributes"] == ("clean",)
    assert records[5].facts["source"] == "15_APTOS"


def test_the_cut_file_is_found(tmp_path: Path) -> None:
    write_flair(tmp_path)
    studies, _ = load(CARD, tmp_path)
    assert studies.report(1).body == "A fundus photograph of normal, noisy."
    assert rejected(CARD, tmp_path) == [(BROKEN, "truncated")]


def test_tables_and_images_may_lie_in_the_root(tmp_path: Path) -> None:
    write_flair(tmp_path)
    for folder in ("dataframes/pretraining", "datasets"):
        for path in list((tmp_path / folder).iterdir()):
            path.rename(tmp_path / path.name)
        (tmp_path / folder).rmdir()
    assert all(record.image.is_file() for record in CARD.read(tmp_path))


def test_code_in_a_table_is_refused(tmp_path: Path) -> None:
    write_flair(tmp_path)
    marker = tmp_path / "ran"
    table = tmp_path / "dataframes" / "pretraining" / "03_IDRID.csv"
    text = table.read_text()
    attack = f"\"[open('{marker}', 'w')]\""
    table.write_text(text.replace("['normal']", attack))
    with pytest.raises(ConfigError, match="line 3 of"):
        list(CARD.read(tmp_path))
    assert not marker.exists()
    table.write_text(text.replace("['normal']", "normal"))
    with pytest.raises(ConfigError, match="a list such as"):
        list(CARD.read(tmp_path))


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"prepare_partitions\.py"):
        list(CARD.read(tmp_path))
    (tmp_path / "x.csv").write_text("image\n")
    with pytest.raises(DatasetNotFoundError, match="columns categories"):
        list(CARD.read(tmp_path))
