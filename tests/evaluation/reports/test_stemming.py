from __future__ import annotations

import pytest

from vlp_zoo.evaluation.reports.stemming import porter_stem

# One example or more for each rule of the paper.
EXAMPLES = {
    "caresses": "caress",
    "ponies": "poni",
    "cats": "cat",
    "feed": "feed",
    "agreed": "agre",  # codespell:ignore agre
    "plastered": "plaster",
    "bled": "bled",
    "motoring": "motor",
    "sing": "sing",
    "conflated": "conflat",
    "troubled": "troubl",
    "sized": "size",
    "hopping": "hop",
    "falling": "fall",
    "hissing": "hiss",
    "fizzed": "fizz",
    "failing": "fail",
    "filing": "file",
    "happy": "happi",
    "sky": "sky",
    "relational": "relat",
    "conditional": "condit",
    "rational": "ration",
    "vietnamization": "vietnam",
    "triplicate": "triplic",
    "formative": "form",
    "hopeful": "hope",
    "goodness": "good",
    "revival": "reviv",
    "allowance": "allow",
    "adjustment": "adjust",
    "replacement": "replac",
    "adoption": "adopt",
    "probate": "probat",
    "rate": "rate",
    "cease": "ceas",
    "controlling": "control",
    "rolling": "roll",
    "generalizations": "gener",
    "oscillators": "oscil",
}


@pytest.mark.parametrize("word", EXAMPLES)
def test_examples_of_the_paper(word: str) -> None:
    assert porter_stem(word) == EXAMPLES[word]


def test_forms_of_findings_meet() -> None:
    for forms in (
        ("effusion", "effusions"),
        ("opacity", "opacities"),
        ("enlarged", "enlargement", "enlarging"),
        ("consolidation", "consolidations", "consolidated"),
    ):
        assert len({porter_stem(form) for form in forms}) == 1
    assert porter_stem("1.5") == "1.5"
    assert porter_stem("is") == "is"
