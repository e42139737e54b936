"""The vocabulary of entity-aware masking."""

from __future__ import annotations

from vlp_zoo.reports.words.entities import (
    ENTITIES,
    NEVER_MATCHED,
    OFFICIAL_ENTITIES,
    TEMPLATES,
)


def test_official_list_has_its_44_words_in_lower_case() -> None:
    assert len(OFFICIAL_ENTITIES) == 44
    assert all(word == word.lower() and word.isalpha() for word in ENTITIES)


def test_corrected_list_extends_the_official_one_with_plurals() -> None:
    assert OFFICIAL_ENTITIES < ENTITIES
    assert {"opacities", "effusions", "nodules", "pneumothoraces"} <= ENTITIES
    assert not {"opacities", "effusions", "nodules"} & OFFICIAL_ENTITIES


def test_words_that_never_match_are_named() -> None:
    assert NEVER_MATCHED < OFFICIAL_ENTITIES
    assert {"copd", "aerate", "hyperinflate"} == NEVER_MATCHED


def test_templates_go_from_long_to_short() -> None:
    assert [len(run) for run in TEMPLATES] == [5, 3]
    assert TEMPLATES[0][: len(TEMPLATES[1])] == TEMPLATES[1]
