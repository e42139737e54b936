"""How both synthetic worlds put facts into words: tables of wordings, picked at random.

Wordings are templates for `str.format`. A noun phrase begins with "a" where it is
counted, with "some" where it is plural, and with neither where it is a mass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vlp_zoo.data.phantom.canvas import Rng
from vlp_zoo.data.phantom.typos import slip
from vlp_zoo.data.phantom.world import Said

__all__ = [
    "Denial",
    "Noun",
    "capital",
    "denial_table",
    "denials",
    "findings_and_impression",
    "listed",
    "mentioned",
    "mentions",
    "pick",
    "pick_noun",
    "statement",
    "wordings",
]

Denial = tuple[float, tuple[str, ...], tuple[str, ...]]
"""How often something is denied where it is absent, its labels, and the wordings."""


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun phrase without article.

    Attributes:
        text: ``"small right pleural effusion"``.
        article: ``"a"``, ``"an"`` or "" for what is not counted.
        plural: Whether the verb is in the plural.
    """

    text: str
    article: str = ""
    plural: bool = False

    @property
    def full(self) -> str:
        """With article."""
        return f"{self.article} {self.text}".strip()

    @property
    def head(self) -> str:
        """With article, at the head of a sentence."""
        return capital(self.full)

    @property
    def alone(self) -> str:
        """Without article, at the head of a sentence."""
        return capital(self.text)

    @property
    def fresh(self) -> str:
        """The words for something new."""
        return f"{'a ' if self.article else ''}new {self.text}"

    @property
    def be(self) -> str:
        """``is`` or ``are``."""
        return "are" if self.plural else "is"

    @property
    def have(self) -> str:
        """``has`` or ``have``."""
        return "have" if self.plural else "has"


def wordings(text: str) -> dict[str, tuple[str, ...]]:
    """Read a table: a key on a line of its own, its wordings below it, indented.

    Short wordings stand side by side with ``|`` between them.
    """
    table = {}
    for block in re.split(r"\n(?=\S)", text.strip()):
        key, _, lines = block.partition("\n    ")
        table[key] = tuple(re.split(r"\n    | \| ", lines))
    return table


def denial_table(text: str) -> tuple[Denial, ...]:
    """Read a table of wordings whose keys are a rate and the labels denied."""
    table = []
    for key, lines in wordings(text).items():
        rate, _, labels = key.partition(" ")
        table.append((float(rate), tuple(labels.split(", ")), lines))
    return tuple(table)


def pick(rng: Rng, *choices: str) -> str:
    """One of several wordings."""
    return choices[int(rng.integers(len(choices)))]


def pick_noun(rng: Rng, choices: Iterable[str], words: Mapping[str, str]) -> Noun:
    """One of several noun phrases.

    Args:
        rng: Generator of the wording.
        choices: Templates; all are filled before one is picked.
        words: What to fill them with; may draw when it is asked.
    """
    text = pick(rng, *[choice.format_map(words) for choice in choices])
    if text.startswith("some "):
        return Noun(text.removeprefix("some "), "", True)
    if text.startswith(("a ", "an ")):
        text = text.partition(" ")[2]
        return Noun(text, "an" if text[:1] in "aeiou" else "a")
    return Noun(text)


def capital(text: str) -> str:
    """The text with its first letter in capital, the others as they are."""
    return text[:1].upper() + text[1:]


def listed(parts: Sequence[str]) -> str:
    """``"a, b and c"``."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def statement(
    rng: Rng,
    table: Mapping[str, tuple[str, ...]],
    it: Noun,
    certain: bool,
    change: str,
    repeated: float,
) -> str:
    """One sentence about something that is there.

    Args:
        rng: Generator of the wording.
        table: Wordings for each change, for ``"seen"`` without a prior, and for
            ``"doubtful"``.
        it: What is there.
        certain: False to hedge.
        change: Against the prior examination, "" without one.
        repeated: How often an unchanged doubt is called unchanged.
    """
    if certain:
        return pick(rng, *table[change or "seen"]).format(it=it)
    sentence = pick(rng, *table["doubtful"]).format(it=it)
    if change == "unchanged" and rng.random() < repeated:
        sentence += " This is unchanged."
    return sentence


def denials(
    rng: Rng, table: Iterable[Denial], states: Mapping[str, float]
) -> list[Said]:
    """Sentences that deny some of what is absent, each label once."""
    said: set[str] = set()
    found = []
    for rate, labels, lines in table:
        free = all(states[label] == 0 for label in labels)
        if free and not said.intersection(labels) and rng.random() < rate:
            said.update(labels)
            found.append((pick(rng, *lines), labels))
    return found


def findings_and_impression(
    rng: Rng, spoken: Sequence[Said], closing: Sequence[Said], numbered: float
) -> tuple[str, str]:
    """The two main sections; a few have a typing error.

    Args:
        rng: Generator of the wording.
        spoken: Sentences of the findings.
        closing: Sentences of the impression.
        numbered: How often the impression is a numbered list, an item a line.
    """
    findings = " ".join(text for text, _ in spoken)
    impression = " ".join(text for text, _ in closing)
    if len(closing) > 1 and rng.random() < numbered:
        items = enumerate((text for text, _ in closing), 1)
        impression = "\n".join(f"{number}. {text}" for number, text in items)
    if rng.random() < 0.02:
        findings = slip(findings, rng)
    if rng.random() < 0.01:
        impression = slip(impression, rng)
    return findings, impression


def mentioned(said: Iterable[Said], states: Mapping[str, float]) -> dict[str, float]:
    """Label to state for those that the sentences speak of."""
    return {label: states[label] for _, labels in said for label in labels}


def mentions(pattern: str, text: str) -> bool:
    """Whether a text has any of the words of a pattern, affirmed or denied."""
    return re.search(pattern, re.sub(r"\s+", " ", text.lower())) is not None
