"""How much of real reports is kept when their sections are found by heading.

    python benchmarks/section_quality.py FOLDER

FOLDER holds ``reports.csv`` with the columns indication, comparison, findings and
impression, one report a row. Each report is written out as one text in a layout that
people have, its sections are found again, and the share of the characters is printed
that is back in its own section. A report *loses* a section that is empty, or cut to
less than half, when it is read. *Asked* counts reports whose indication is read as
findings or impression, first in whole reports, then in reports of history alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from difflib import SequenceMatcher
from pathlib import Path

import pandas as pd

from vlp_zoo.reports.sections import split_sections

Sections = Mapping[str, str]
NAMES = ("indication", "comparison", "findings", "impression")
SEEN = ("findings", "impression")
SLIPS = {
    "indication": "INDICATON",
    "comparison": "CMOPARISON",
    "findings": "FINDNGS",
    "impression": "IMPRESSON",
}


def plain(sections: Sections) -> str:
    """Headings in capitals, as MIMIC-CXR has them."""
    lines = (f" {n.upper()}:  {text}\n \n" for n, text in sections.items() if text)
    return f"{' ' * 33}FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n" + "".join(
        lines
    )


def slips(sections: Sections) -> str:
    """One slip in each heading."""
    text = plain(sections)
    for name, slip in SLIPS.items():
        text = text.replace(f" {name.upper()}:", f" {slip}:")
    return text


def titles(sections: Sections) -> str:
    """A title of the examination before the first and inside the last section."""
    text = plain(sections).replace(
        " EXAMINATION:  CHEST (PA AND LAT)\n",
        " CHEST RADIOGRAPH, PA AND LATERAL: ___\n",
    )
    return text.replace("IMPRESSION:  ", "IMPRESSION:\n PA AND LATERAL CHEST READ:\n ")


def organs(sections: Sections) -> str:
    """Every sentence of the findings under an organ in capitals."""
    names = ("LUNGS", "HEART", "BONES", "LINES AND TUBES", "NOTE")
    sentences = sections["findings"].split(". ")
    lines = (f"{names[i % 5]}: {said}" for i, said in enumerate(sentences) if said)
    return plain({**sections, "findings": ".\n ".join(lines)})


def other_names(sections: Sections) -> str:
    """REPORT and CONCLUSIONS, followed by a recommendation."""
    text = plain(sections).replace(" FINDINGS:", " REPORT:")
    return text.replace(" IMPRESSION:", " CONCLUSIONS/RECOMMENDATIONS:")


def alone(sections: Sections) -> str:
    """Headings without a colon on lines of their own."""
    return "\n\n".join(f"{n.upper()}\n{text}" for n, text in sections.items() if text)


def one_line(sections: Sections) -> str:
    """All on one line, as tables have it."""
    return " ".join(plain(sections).split())


def none(sections: Sections) -> str:
    """Findings and impression as they are, without any heading."""
    return " ".join(sections[name] for name in SEEN if sections[name])


LAYOUTS: dict[str, Callable[[Sections], str]] = {
    "headings of MIMIC-CXR": plain,
    "a slip in each heading": slips,
    "titles in capitals": titles,
    "organs in capitals": organs,
    "other names": other_names,
    "headings alone on a line": alone,
    "all on one line": one_line,
    "no heading": none,
}


def kept(true: str, read: str) -> int:
    """Characters of a section, blanks left out, that are read again, in order."""
    if true in read:
        return letters(true)
    words, again = true.split(), read.split()
    blocks = SequenceMatcher(None, words, again, autojunk=False).get_matching_blocks()
    return sum(len("".join(words[b.a : b.a + b.size])) for b in blocks)


def letters(text: str) -> int:
    """Characters that are no blanks."""
    return len("".join(text.split()))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with reports.csv")
    table = pd.read_csv(parser.parse_args().folder / "reports.csv", dtype=str)
    rows = table[list(NAMES)].fillna("").to_dict("records")
    reports = [{str(k): " ".join(v.split()) for k, v in row.items()} for row in rows]
    print(
        "| layout | indication | findings | impression | lose findings | lose ", end=""
    )
    print("impression | asked |\n|---|---|---|---|---|---|---|")
    for layout, write in LAYOUTS.items():
        back, length = dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0)
        lost, asked = dict.fromkeys(SEEN, 0), 0
        for sections in reports:
            read = split_sections(write(sections))
            # Without headings nobody can tell where the findings end.
            whole = f"{read.findings} {read.impression}"
            for name in NAMES:
                text = sections[name]
                again = whole if layout == "no heading" else getattr(read, name)
                found = kept(text, again) if text else 0
                back[name] += found
                length[name] += letters(text)
                if name in SEEN and text:
                    lost[name] += found * 2 < letters(text)
            question = sections["indication"]
            asked += len(question) > 20 and question in whole
        shares = (
            "-"
            if layout == "no heading" and name == "indication"
            else f"{back[name] / length[name]:.4f}"
            for name in ("indication", *SEEN)
        )
        print(f"| {layout} | {' | '.join(shares)} | ", end="")
        print(f"{lost['findings']} | {lost['impression']} | {asked} |")
    history = [{**report, "findings": "", "impression": ""} for report in reports]
    history = [report for report in history if report["indication"]]
    learnt = sum(bool(split_sections(plain(one)).body.strip()) for one in history)
    print(
        f"\n{len(reports)} reports; of {len(history)} reports of history alone,", end=""
    )
    print(f" {learnt} have a body")


if __name__ == "__main__":
    main()
