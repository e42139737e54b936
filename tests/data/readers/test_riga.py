"""RIGA: two re-packs that code the cup in opposite ways, sites as splits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.riga import (
    BROKEN,
    BROKEN_PLUS,
    write_riga,
    write_riga_plus,
)
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.fundus.riga import CARD
from vlp_zoo.errors import DatasetNotFoundError


@pytest.mark.parametrize("write", [write_riga, write_riga_plus])
def test_the_cup_is_inside_the_disc_in_both(
    tmp_path: Path, write: Callable[..., None]
) -> None:
    write(tmp_path, faults=False)
    studies, _ = load(CARD, tmp_path)
    assert len(studies) == 8
    for i in range(8):
        masks = studies[i].masks
        assert masks["optic disc"].sum() == 24 * 20
        assert masks["optic cup"].sum() == 8 * 10
        assert (masks["optic cup"] <= masks["optic disc"]).all()
    sites = {str(facts["site"]) for facts in studies.facts}
    assert sites == {"BinRushed", "Magrabia", "MESSIDOR"}


def test_disc_region_may_itself_be_the_root(tmp_path: Path) -> None:
    write_riga(tmp_path)
    images = tmp_path / "DiscRegion" / "Image"
    (images / "MESSIDOR" / "._image3.tif").write_bytes(b"Mac OS X")
    records = list(CARD.read(tmp_path / "DiscRegion"))
    assert len(records) == 8
    assert [r.uid for r in records] == [r.uid for r in CARD.read(tmp_path)]
    assert records[0].uid == "BinRushed/BinRushed1/image1"


def test_unlabelled_photographs_are_not_read(tmp_path: Path) -> None:
    write_riga_plus(tmp_path)
    uids = {record.uid for record in CARD.read(tmp_path)}
    assert "MESSIDOR_Base1/Labeled/image3" in uids
    assert not any("image99" in uid for uid in uids)


def test_the_first_reader_is_taken(tmp_path: Path) -> None:
    write_riga_plus(tmp_path)
    record = next(iter(CARD.read(tmp_path)))
    assert {mask.ref.name for mask in record.masks} == {"image2-1.tif"}


def test_cross_site_tests_on_magrabia(tmp_path: Path) -> None:
    write_riga(tmp_path)
    records = list(CARD.read(tmp_path))
    splits = split_of(CARD, records, "cross_site")
    pairs = list(zip(records, splits, strict=True))
    assert {r.facts["site"] for r, s in pairs if s == "test"} == {"Magrabia"}
    assert {s for r, s in pairs if r.facts["site"] != "Magrabia"} == {"train", "val"}
    with pytest.raises(DatasetNotFoundError, match="Magrabia"):
        split_of(CARD, records[:3], "cross_site")


def test_official_is_in_the_tables_of_riga_plus(tmp_path: Path) -> None:
    write_riga_plus(tmp_path / "plus")
    records = list(CARD.read(tmp_path / "plus"))
    splits = split_of(CARD, records, "official")
    pairs = zip(records, splits, strict=True)
    assert {r.uid[-6:] for r, s in pairs if s == "test"} == {"image1"}
    assert splits.count("test") == 4
    write_riga(tmp_path / "region")
    with pytest.raises(DatasetNotFoundError, match="cross_site or canonical"):
        split_of(CARD, list(CARD.read(tmp_path / "region")), "official")


def test_broken_and_missing_files_are_found(tmp_path: Path) -> None:
    write_riga(tmp_path / "region")
    assert rejected(CARD, tmp_path / "region") == [(BROKEN, "empty")]
    final = tmp_path / "region" / "DiscRegion" / "FinalLabel"
    (final / "Magrabia" / "MagrabiaMale" / "image1.tif").unlink()
    assert ("Magrabia/MagrabiaMale/image1", "bad_mask") in rejected(
        CARD, tmp_path / "region"
    )
    write_riga_plus(tmp_path / "plus")
    assert rejected(CARD, tmp_path / "plus") == [(BROKEN_PLUS, "empty")]


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetNotFoundError, match="DiscRegion/FinalLabel or RIGA-mask"
    ):
        list(CARD.read(tmp_path))
    (tmp_path / "RIGA-mask").mkdir()
    with pytest.raises(DatasetNotFoundError, match=r"\*_train\.csv"):
        list(CARD.read(tmp_path))
