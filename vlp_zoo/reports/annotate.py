"""Findings of a chest radiology report by rule: what, whether, where, how severe.

    >>> [(e.finding, e.status, e.anatomy) for e in annotate(
    ...     "Small left pleural effusion. No pneumothorax."
    ... )]
    [('pleural effusion', 'present', ('left costophrenic angle',)), \
('pneumothorax', 'absent', ())]

The words are in `lexicon`, `cues` and `anatomy`; quality on real reports is measured
by ``benchmarks/annotator_quality.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from vlp_zoo.errors import UnknownNameError
from vlp_zoo.reports.assertion import Status, find_cues, stated_value, status_of
from vlp_zoo.reports.location import locate, severity_of
from vlp_zoo.reports.normality import deny
from vlp_zoo.reports.sections import sentence_spans
from vlp_zoo.reports.words import lexicon
from vlp_zoo.reports.words.notation import Table, compile_terms, lowered

__all__ = ["Entity", "annotate", "canonical_finding", "label_vector"]


@dataclass(frozen=True, slots=True)
class Entity:
    """One mention of a finding.

    Attributes:
        finding: A key of `lexicon.FINDINGS`, or `lexicon.NO_FINDING`.
        text: The words of the mention, exactly ``report[start:end]``.
        start: First character in the report.
        end: One past the last character.
        sentence: Index of the sentence (see `sections.sentence_spans`).
        status: ``"present"``, ``"absent"`` or ``"uncertain"``.
        anatomy: Names of `anatomy.REGIONS`; empty where the text names none.
        side: ``"left"``, ``"right"``, ``"bilateral"`` or "".
        severity: The adjective used ("mild", "small to moderate"), or "".
        implied: True where a statement about the whole denies it along with others
            ("the lungs are clear" denies consolidation).
    """

    finding: str
    text: str
    start: int
    end: int
    sentence: int
    status: Status
    anatomy: tuple[str, ...] = ()
    side: str = ""
    severity: str = ""
    implied: bool = False

    @property
    def present(self) -> bool | None:
        """True, False, or None where the report is uncertain."""
        return None if self.status == "uncertain" else self.status == "present"

    @property
    def uncertain(self) -> bool:
        """Whether the report leaves it open."""
        return self.status == "uncertain"


_FINDINGS = Table(lexicon.FINDINGS, lexicon.NOT_A_FINDING, lexicon.ALSO)
_NOTHING = compile_terms(lexicon.NO_FINDING_STATEMENTS)


@lru_cache(maxsize=65536)
def _sentence(text: str) -> tuple[Entity, ...]:
    """Entities of a sentence, with places in it: sentences repeat between reports."""
    sentence = lowered(text)
    mentions = list(_FINDINGS.find(sentence))
    cues = find_cues(sentence) if mentions else []
    found: list[Entity] = []

    def add(start: int, end: int, finding: str, status: Status, *more: Any) -> None:
        found.append(Entity(finding, text[start:end], start, end, 0, status, *more))

    places = locate(sentence, mentions)
    for (start, end, name), (side, regions) in zip(mentions, places, strict=True):
        status = status_of(sentence, start, end, cues)
        if status is not None:
            severity = severity_of(sentence, start, end)
            add(start, end, name, status, regions, side, severity)
    for start, end, names in deny(sentence, [(a, b) for a, b, _ in mentions]):
        for position, name in enumerate(names):
            add(start, end, name, "absent", (), "", "", position > 0)
    for match in _NOTHING.finditer(sentence):
        add(*match.span(), lexicon.NO_FINDING, "present", (), "", "", True)
    return tuple(sorted(found, key=lambda entity: entity.start))


def annotate(text: str) -> list[Entity]:
    """All mentions of findings in a report text, in order.

    Args:
        text: Findings and impression, or any text; hard wraps are allowed.

    Returns:
        The entities, with spans into ``text``; none for an empty text.
    """
    return [
        replace(one, start=begin + one.start, end=begin + one.end, sentence=index)
        for index, (begin, stop) in enumerate(sentence_spans(text))
        for one in _sentence(text[begin:stop])
    ]


@lru_cache(maxsize=1024)
def canonical_finding(name: str) -> str:
    """Our name of a finding, whatever a data set calls it.

    Args:
        name: Ours, a CheXpert label, or a column such as ``label_pleural_effusion``.

    Raises:
        UnknownNameError: If it stands for no finding of the lexicon.

    >>> canonical_finding("Enlarged Cardiomediastinum")
    'enlarged mediastinum'
    """
    plain = re.sub(r"[_\s]+", " ", name.strip().lower()).removeprefix("label ")
    if plain in lexicon.FINDINGS or plain == lexicon.NO_FINDING:
        return plain
    if plain in lexicon.ALIASES:
        return lexicon.ALIASES[plain]
    raise UnknownNameError(
        f"a finding called {name!r}",
        f"the known ones are {', '.join(lexicon.FINDINGS)}",
        "use one of these or a CheXpert label",
    )


def label_vector(
    report: str | Iterable[Entity], findings: Sequence[str] | None = None
) -> dict[str, int | None]:
    """One value a finding for a whole report, as in the CheXpert label files.

    A stated presence outranks doubt, doubt outranks denial. "No finding" is 1 where
    something was read and nothing but devices is present or uncertain.

    Args:
        report: The text, or what `annotate` made of it.
        findings: Names for `canonical_finding`; all findings by default.

    Returns:
        Each given name to 1 (present), 0 (absent), -1 (uncertain) or None (not
        mentioned), in the order given.

    Raises:
        UnknownNameError: For a name that no finding has.
    """
    entities = annotate(report) if isinstance(report, str) else list(report)
    value: dict[str, int | None] = {}
    for entity in entities:
        value[entity.finding] = stated_value(entity.status, value.get(entity.finding))
    wrong = any(
        state in (1, -1)
        for name, state in value.items()
        if name not in (lexicon.DEVICES, lexicon.NO_FINDING)
    )
    value[lexicon.NO_FINDING] = int(not wrong) if entities else None
    names = [*lexicon.FINDINGS, lexicon.NO_FINDING] if findings is None else findings
    return {name: value.get(canonical_finding(name)) for name in names}
