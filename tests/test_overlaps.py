from __future__ import annotations

import pytest

from vlp_zoo.data import DATASETS
from vlp_zoo.data.catalogue import card_of
from vlp_zoo.overlaps import OVERLAPS, contamination, plain_name, related


@pytest.mark.parametrize(
    ("source", "dataset", "certain", "chain"),
    [
        ("nih14", "rsna", True, "nih14 rsna"),
        ("rsna", "nih14", True, "rsna nih14"),
        ("nih14", "COVIDx CXR-4", True, "nih14 rsna covidx"),
        ("SIIM-ACR", "rsna", False, "siim nih14 rsna"),
        ("siim", "covidx", False, "siim nih14 rsna covidx"),
        ("MIMIC-CXR-JPG", "ms_cxr", True, "mimic_cxr ms_cxr"),
        ("cxr_lt", "ms_cxr", False, "cxr_lt mimic_cxr ms_cxr"),
        ("chexpert", "chexlocalize", True, "chexpert chexlocalize"),
        ("flair", "ODIR-5K", True, "flair_pool odir"),
        ("flair", "mured", True, "flair_pool aria mured"),
        ("messidor", "riga", True, "messidor riga"),
        ("messidor2", "messidor", True, "messidor2 messidor"),
        ("riga", "messidor2", False, "riga messidor messidor2"),
        ("aptos", "aptos2019", True, "aptos"),
    ],
)
def test_images_that_are_shared(
    source: str, dataset: str, certain: bool, chain: str
) -> None:
    (found,) = contamination([source], dataset)
    assert (found.certain, " ".join(found.chain)) == (certain, chain)
    assert found.mechanism
    assert found.detect


@pytest.mark.parametrize(
    ("source", "dataset"),
    [
        ("nih14", "chexpert"),
        # Two members of one pool have no image in common.
        ("stare", "aptos"),
        ("rfmid", "aria"),
        ("ricord", "rsna"),
        ("ricord", "nih14"),
        ("mine", "yours"),
    ],
)
def test_images_that_are_not(source: str, dataset: str) -> None:
    assert contamination([source], dataset) == []
    assert related(dataset, source) is None


def test_certain_findings_come_first_and_each_source_once() -> None:
    found = contamination(["siim", "nih14", "nih14", "chexpert"], "rsna")
    assert [(f.source, f.certain) for f in found] == [("nih14", True), ("siim", False)]


def test_the_table_names_each_link_once_and_has_no_loop() -> None:
    links = [(o.part, o.whole) for o in OVERLAPS]
    assert len(set(links)) == len(links)
    assert not {(b, a) for a, b in links} & set(links)
    assert all(plain_name(name) == name for link in links for name in link)


@pytest.mark.parametrize("name", DATASETS)
def test_the_cards_of_readers_agree_with_the_table(name: str) -> None:
    for other in card_of(name).overlaps:
        assert related(name, other) is not None
