"""Tables of wordings: how they are read, filled and picked from."""

from __future__ import annotations

import numpy as np
import pytest

from vlp_zoo.data.phantom.chest import boilerplate
from vlp_zoo.data.phantom.chest.facts import LABELS, Finding
from vlp_zoo.data.phantom.chest.phrases import DEVICES, device_sentence, mentions, noun
from vlp_zoo.data.phantom.fundus import phrases
from vlp_zoo.data.phantom.wording import (
    Noun,
    denial_table,
    denials,
    pick_noun,
    statement,
    wordings,
)

CHANGES = {"doubtful", "new", "unchanged", "increased", "decreased", "seen"}


def test_a_table_has_a_key_and_its_wordings_below() -> None:
    table = wordings("""
fever
    a fever | hot, very hot
of unknown origin
    It is {warm}.
    Nobody knows.
""")
    assert table == {
        "fever": ("a fever", "hot, very hot"),
        "of unknown origin": ("It is {warm}.", "Nobody knows."),
    }


@pytest.mark.parametrize(
    ("template", "noun"),
    [
        ("a {size} mass", Noun("small mass", "a")),
        ("an {size} mass", Noun("small mass", "a")),
        ("a opacity", Noun("opacity", "an")),
        ("some {size} ribs", Noun("small ribs", "", True)),
        ("{size} edema", Noun("small edema")),
    ],
)
def test_the_first_word_of_a_template_says_how_it_is_counted(
    template: str, noun: Noun
) -> None:
    rng = np.random.default_rng(0)
    assert pick_noun(rng, [template], {"size": "small"}) == noun


def test_denials_never_repeat_a_label_or_deny_what_is_there() -> None:
    table = denial_table("""
1 a, b
    No a or b.
1 b
    No b.
1 c
    No c.
0 d
    No d.
""")
    rng = np.random.default_rng(0)
    absent = dict.fromkeys("abcd", 0.0)
    assert denials(rng, table, absent) == [
        ("No a or b.", ("a", "b")),
        ("No c.", ("c",)),
    ]
    assert denials(rng, table, absent | {"a": -1.0, "c": 1.0}) == [("No b.", ("b",))]


@pytest.mark.parametrize("table", [boilerplate.STATEMENTS, phrases.STATEMENTS])
def test_every_statement_can_be_made(table: dict[str, tuple[str, ...]]) -> None:
    assert set(table) == CHANGES
    rng = np.random.default_rng(0)
    it = Noun("small effusion", "a")
    for lines in table.values():
        for line in lines:
            text = line.format(it=it)
            assert "small effusion" in text.lower()
            assert text[0].isupper()
    assert "unchanged" in statement(rng, table, it, False, "unchanged", 1.0)


def test_every_finding_of_a_chest_has_words() -> None:
    rng = np.random.default_rng(0)
    for label in set(LABELS) - {"No Finding", "Support Devices"}:
        for side in ("left", "right", "bilateral"):
            for zone in ("upper", "mid", "lower", "apical"):
                for amount in (0.1, 0.5, 0.9):
                    known = (label, label.lower(), side, zone, amount, True, "", 1)
                    assert mentions(label, noun(rng, Finding(*known)).full)
    for kind in DEVICES:
        device = Finding("Support Devices", kind, "left", "", 0.5, True, "", 1)
        assert mentions("Support Devices", device_sentence(rng, device))
