"""One rule of what is no text, and that every reader goes by it."""

from __future__ import annotations

import pytest

from vlp_zoo.reports.blank import is_blank, stated
from vlp_zoo.reports.sections import parse_report


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t\n",
        "\xa0",
        "\u200b\ufeff",
        ".",
        " - ",
        "--",
        "___",
        "___.",
        "1. ___",
        "XXXX",
        "XXXX XXXX.",
        "[**2150-1-1**]",
        "nan",
        "NaN",
        "None",
        "null",
        "NULL",
        "NA",
        "N/A",
        "n.a.",
        "<NA>",
        "#N/A",
        "(none)",
        "nan\u200b",
        "nan ___",
        "- none -",
        "None .",
        "None; None",
        "nan.",
        "NaT",
        "." * 500,
    ],
)
def test_what_says_nothing(text: str) -> None:
    assert is_blank(text)
    assert stated(text) == ""
    assert parse_report(text).body == ""
    assert parse_report(f"INDICATION: Cough.\nFINDINGS: {text}\n").body == ""


@pytest.mark.parametrize(
    "text",
    [
        "Normal.",
        "None.",
        "No nan.",
        "Nil acute.",
        "\u6b63\u5e38",
        "XXXX edema.",
        "a" * 500,
    ],
)
def test_what_says_something(text: str) -> None:
    assert stated(f" {text}\n") == text
    assert parse_report(text).body == text
