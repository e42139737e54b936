"""The tables of words: what is found, skipped, and named twice."""

from __future__ import annotations

from vlp_zoo.reports.words.notation import Table, lowered


def test_an_earlier_row_wins_and_spans_fit_the_text() -> None:
    table = Table({"mass": (r"soft mass(?:es)?",), "any": (r"mass(?:es)?", r"node")})
    text = "Soft  mass, a node and MASSES; massive."
    found = [(text[a:b], name) for a, b, name in table.find(lowered(text))]
    assert found == [("Soft  mass", "mass"), ("node", "any"), ("MASSES", "any")]


def test_skipped_words_are_no_mention() -> None:
    table = Table({"effusion": (r"effusions?",)}, skipped=(r"joint effusions?",))
    assert list(table.find("joint effusion, effusion")) == [(16, 24, "effusion")]


def test_one_mention_may_name_a_second_thing() -> None:
    table = Table({"air": (r"hydropneumothorax",)}, also={r"hydro\w+": "fluid"})
    assert list(table.find("hydropneumothorax")) == [(0, 17, "air"), (0, 17, "fluid")]


def test_a_table_can_be_searched_from_a_place_on() -> None:
    table = Table({"lung": (r"lungs?",)})
    match = table.search("lung and lungs", 4)
    assert match is not None
    assert match.span() == (9, 14)
    assert table.search("lung", 1) is None
