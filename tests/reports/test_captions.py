from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlp_zoo.data.catalogue import card_of
from vlp_zoo.data.fundus.idrid import LESIONS
from vlp_zoo.data.fundus.photographs import GRADES
from vlp_zoo.data.phantom.fundus.facts import LABELS
from vlp_zoo.errors import ConfigError
from vlp_zoo.reports.captions import Lexicon, Words, fill, read_descriptions

TEMPLATE = "A [ATR] fundus photograph of [CLS]"
FUNDUS = ("aptos", "eyepacs", "idrid", "messidor2", "mured", "odir", "refuge")
SILENT = {"other", "OTHER"}
"""Labels that are no word of an image."""


def lexicon(*labels: str, **options: Any) -> Lexicon:
    descriptions, aliases = read_descriptions("fundus")
    known = {"descriptions": descriptions, "aliases": aliases, **options}
    return Lexicon(TEMPLATE, labels, **known)


@pytest.mark.parametrize("name", FUNDUS)
def test_every_label_of_a_fundus_data_set_has_a_description(name: str) -> None:
    labels = card_of(name).label_names
    words = lexicon(*labels)
    for label in set(labels) - SILENT:
        (spelt,) = words.spelt([label])
        assert words.descriptions[spelt], label
    assert words.spelt(SILENT) == ()


def test_so_have_those_of_the_drawn_world_and_lesions() -> None:
    words = lexicon()
    for label in (*LABELS, *LESIONS.values()):
        for spelt in words.spelt([label]):
            assert words.descriptions[spelt], label


def row(*true: str, names: tuple[str, ...] = GRADES) -> list[float]:
    return [float(name in true) for name in names]


def test_words_come_from_whatever_a_set_knows() -> None:
    words = lexicon(*GRADES)
    grade = row(GRADES[2])
    assert words.words({"grade": 2.0}, grade).categories == (GRADES[2],)
    idrid = {"part": "grading", "macular_edema": 1.0}
    found = words.words(idrid, grade).categories
    assert found == (GRADES[2], "non clinically significant diabetic macular edema")
    # MESSIDOR-2's 1 is no IDRiD's 1.
    assert words.words({"macular_edema": 1.0}, grade).categories == (GRADES[2],)
    unknown = [math.nan] * len(GRADES)
    lesions = words.words(
        {"part": "segmentation"}, unknown, ["haemorrhage", "optic disc"]
    )
    assert lesions.categories == ("hemorrhages",)
    odir = {"keywords": ("lens dust", "drusens"), "patient_labels": ()}
    assert words.words(odir, unknown) == Words(("drusen",), (), "odir")
    listed = {"categories": ("Healthy",), "attributes": ("noisy",), "source": "23_HRF"}
    assert words.words(listed, []) == Words(("normal",), ("noisy",), "23_HRF")
    uncertain = [-1.0, *unknown[1:]]
    assert words.words({}, uncertain).categories == ()
    assert lexicon("glaucoma").words({}, [0.0]).categories == ("no glaucoma",)
    assert lexicon().words({}, [], report="Pale disc.").categories == ("Pale disc.",)


def test_words_to_the_letter_without_aliases() -> None:
    words = lexicon(aliases=None)
    found = words.words({"categories": ("Healthy", "Healthy")}, [])
    assert found.categories == ("Healthy", "Healthy")


def test_descriptions_take_the_place_of_a_word_everywhere() -> None:
    words = lexicon(descriptions={"drusen": ["yellow spots"]}, free_text=("own",))
    caption = fill("[CLS] [ATR], [CLS]", "", "drusen")
    assert words.described(caption, "drusen", "") == [
        caption,
        "yellow spots , yellow spots",
    ]
    assert words.described(caption, "drusen", "own") == [caption]
    drawn = {
        words.caption(Words(("drusen",), ("noisy",)), np.random.default_rng(i))
        for i in range(20)
    }
    plain = "A noisy fundus photograph of drusen"
    described = "A noisy fundus photograph of yellow spots"
    assert drawn == {(plain, "drusen", plain), (described, "drusen", plain)}


def test_a_word_is_banned_whole_or_in_parts() -> None:
    for parts, banned in (
        (False, {"cataract", "senile cataract"}),
        (True, {"cataract", "senile cataract", "no cataract", "cataracts"}),
    ):
        words = lexicon(banned=("cataract",), ban_parts=parts)
        tried = {"cataract", "senile cataract", "no cataract", "cataracts", "drusen"}
        assert {w for w in tried if words.is_banned(Words((w,)))} == banned


def test_files_of_descriptions(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("descriptions: {drusen: [yellow spots]}\naliases: {drusen: [DN]}\n")
    texts, aliases = read_descriptions(str(path))
    assert texts == {"drusen": ["yellow spots"]}
    assert aliases == {"drusen": "drusen", "dn": "drusen"}
    assert read_descriptions("none") == ({}, {})
    for wrong in (
        "drusen: [yellow spots]",
        "descriptions: {drusen: yellow}",
        "- a",
        "{",
    ):
        path.write_text(wrong)
        with pytest.raises(ConfigError, match=r"descriptions"):
            read_descriptions(str(path))
    with pytest.raises(ConfigError, match="No such file"):
        read_descriptions("retina")
