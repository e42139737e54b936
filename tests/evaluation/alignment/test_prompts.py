"""Prompt files: every label of every data set has words a report could have."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlp_zoo.data import DATASETS
from vlp_zoo.data.catalogue import card_of
from vlp_zoo.errors import ConfigError, UnknownNameError
from vlp_zoo.evaluation.alignment.prompts import plain, prompt_names, read_prompts


@pytest.mark.parametrize("name", prompt_names())
def test_a_packaged_file_has_five_sets(name: str) -> None:
    prompts = read_prompts(name)
    assert len(set(prompts.templates)) >= 5
    assert prompts.version >= 1
    assert len(prompts.sha256) == 64
    for label, pairs in prompts.whole.items():
        assert len(pairs) == len(prompts.templates), label


@pytest.mark.parametrize("name", DATASETS)
def test_every_label_of_a_data_set_is_spoken(name: str) -> None:
    card = card_of(name)
    prompts = read_prompts(card.domain)
    said = {}
    for label in card.label_names:
        pairs = prompts.pairs(label)
        assert len(pairs) == len(prompts.templates)
        for yes, no in pairs:
            assert yes != no
            assert not {"_", "/", "{"} & set(yes + no)
        # Abbreviations mean nothing to a language model.
        short = label.isupper() and label != "NORMAL"
        assert not (short and plain(label) in pairs[1][0].split()), label
        said[label] = tuple(pairs)
    assert len(set(said.values())) == len(card.label_names)


def test_words_and_whole_sentences() -> None:
    chest = read_prompts("chest")
    assert chest.pairs("Pleural_Thickening")[0] == (
        "There is pleural thickening.",
        "There is no pleural thickening.",
    )
    assert chest.pairs("no_finding") == chest.pairs("No Finding")
    assert "clear" in chest.pairs("No Finding")[0][0]
    assert "diabetic retinopathy" in read_prompts("fundus").pairs("DR")[0][0]


def test_a_file_of_ones_own_and_its_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("version: 3\ntemplates: [['a {}', 'b {}']]\nwords: {X_y: z}\n")
    prompts = read_prompts(str(path))
    assert prompts.pairs("x y") == [("a z", "b z")]
    before = prompts.sha256
    path.write_text(path.read_text() + "\n")
    assert read_prompts(str(path)).sha256 != before
    for text in ("version: 1\n", "version: 1\ntemplates: [[a, b]]\n", "a: [\n"):
        path.write_text(text)
        with pytest.raises(ConfigError):
            read_prompts(str(path))
    with pytest.raises(UnknownNameError, match="chest"):
        read_prompts("dental")
