"""Statements from RadGraph's annotations instead of our rules.

RadGraph (Jain et al., NeurIPS Datasets and Benchmarks 2021, arXiv 2106.14463) marks in
a report observations (``OBS-DP`` present, ``OBS-DA`` absent, ``OBS-U`` uncertain) and
anatomy (``ANAT-DP``), and relates them (``modify``, ``located_at``, ``suggestive_of``).
Its file is JSON, one entry a report::

    {
        "s50414267.txt": {
            "text": "No pleural effusion .",
            "entities": {
                "1": {
                    "tokens": "pleural",
                    "label": "ANAT-DP",
                    "start_ix": 1,
                    "end_ix": 1,
                    "relations": [],
                },
                "2": {
                    "tokens": "effusion",
                    "label": "OBS-DA",
                    "start_ix": 2,
                    "end_ix": 2,
                    "relations": [["located_at", "1"]],
                },
            },
        }
    }

The names of RadGraph-XL (Delbrouck et al., Findings of ACL 2024) are read as well
(``Observation::definitely present``), and so are lists of reports and the lines of JSON
in which that set is published: ``sentences`` of tokens, ``ner`` with first token, last
token and label, ``relations`` with two spans and a name.

What is stated and whether it is present comes from there; the words of an observation,
its modifiers and its anatomy are then looked up in our tables (`tags`, `anatomy`), which
know the 40 tags and 29 regions. A sentence whose observations none of our tables knows is
read by rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.reading import parse_json, read_text
from vlp_zoo.reports.assertion import Status
from vlp_zoo.reports.sections import sentence_spans
from vlp_zoo.reports.triplets import Statement, statements

__all__ = ["RadGraphStatements", "read_radgraph"]

EXISTENCE: dict[str, Status] = {
    "OBS-DP": "present",
    "OBS-DA": "absent",
    "OBS-U": "uncertain",
    "OBSERVATION::DEFINITELY PRESENT": "present",
    "OBSERVATION::DEFINITELY ABSENT": "absent",
    "OBSERVATION::UNCERTAIN": "uncertain",
}
"""Labels of what is stated."""
PLACES = frozenset({"ANAT-DP", "ANAT-DA", "ANAT-U"}) | frozenset(
    f"{kind}::{certainty}"
    for kind in ("ANATOMY", "ANATOMY::MEASUREMENT", "OBSERVATION::MEASUREMENT")
    for certainty in ("DEFINITELY PRESENT", "DEFINITELY ABSENT", "UNCERTAIN")
)
"""Labels of where it is, and of sizes and counts: they state nothing by themselves."""


Entity = dict[str, Any]


@dataclass(frozen=True)
class RadGraphStatements:
    """What sentences state, as RadGraph reads them; others are read by rule.

    Sentences are told by their words, not by their report: reports repeat sentences,
    and what is before and after a sentence does not change what it states.

    Attributes:
        known: Words of a sentence to its statements.
    """

    known: Mapping[str, tuple[Statement, ...]] = field(repr=False)

    def __call__(self, sentence: str) -> tuple[Statement, ...]:
        """The statements of a sentence; see `vlp_zoo.reports.triplets.statements`."""
        found = self.known.get(_key(sentence))
        return statements(sentence) if found is None else found


def read_radgraph(path: Path) -> RadGraphStatements:
    """Read a file of RadGraph's annotations.

    Args:
        path: JSON as above, or lines of JSON; ``entities`` may also lie below
            ``labeler_1``, as in the test split of the published data.

    Raises:
        DatasetNotFoundError: If the file is missing, of another form, without any
            report, or names entities in a way that is not known.
    """
    known: dict[str, tuple[Statement, ...]] = {}
    strange: set[str] = set()
    try:
        reports = list(_reports(read_text(path, "RadGraph annotations")))
        for text, entities in reports:
            strange |= {str(e["label"]) for e in entities.values()}
            for key, found in _sentences(text, entities):
                known.setdefault(key, found)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatasetNotFoundError(
            f"RadGraph annotations in {path}: reports with 'text' and 'entities'",
            f"{type(error).__name__}: {error}",
            "give the JSON file that RadGraph wrote",
        ) from error
    strange = {label for label in strange if not _is_known(label)}
    if strange or not reports:
        raise DatasetNotFoundError(
            f"entities named {', '.join((*EXISTENCE, 'ANAT-DP'))} in {path}",
            f"also {', '.join(sorted(strange)[:8])}" if strange else "no report at all",
            "rename them, or give the file that RadGraph or RadGraph-XL wrote",
        )
    return RadGraphStatements(known)


def _is_known(label: str) -> bool:
    return label.upper() in EXISTENCE or label.upper() in PLACES


def _existence(entity: Entity) -> Status | None:
    return EXISTENCE.get(str(entity["label"]).upper())


def _reports(text: str) -> Iterator[tuple[str, Mapping[str, Entity]]]:
    """Text and entities of each report of a file of any of the three forms."""
    try:
        content = parse_json(text)
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        content = [parse_json(line) for line in lines]
    if isinstance(content, dict) and "sentences" in content:
        content = [content]
    for report in content.values() if isinstance(content, dict) else content:
        if "sentences" in report:
            yield _from_tokens(report)
        else:
            first = report.get("labeler_1", report)
            yield report["text"], first["entities"]


def _from_tokens(report: Mapping[str, Any]) -> tuple[str, dict[str, Entity]]:
    """Text and entities of a report given as tokens, whose places count through it."""
    tokens = [str(token) for sentence in report["sentences"] for token in sentence]
    if any(len(token.split()) != 1 for token in tokens):
        raise ValueError("tokens with blanks in them")
    entities: dict[str, Entity] = {}
    for group in report.get("ner", report.get("predicted_ner", ())):
        for first, last, label, *_ in group:
            words = " ".join(tokens[first : last + 1])
            span = {"start_ix": first, "end_ix": last}
            entities[f"{first}-{last}"] = {"tokens": words, "label": label, **span}
            entities[f"{first}-{last}"]["relations"] = []
    for group in report.get("relations", report.get("predicted_relations", ())):
        for first, last, other, end, kind, *_ in group:
            entities[f"{first}-{last}"]["relations"].append([kind, f"{other}-{end}"])
    return " ".join(tokens), entities


def _key(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def _sentences(
    text: str, entities: Mapping[str, Entity]
) -> list[tuple[str, tuple[Statement, ...]]]:
    """Words and statements of each sentence of a report."""
    starts = [match.start() for match in re.finditer(r"\S+", text)]
    spans = sentence_spans(text)
    found: list[list[tuple[int, Statement]]] = [[] for _ in spans]
    unread = set()
    for name, entity in entities.items():
        existence = _existence(entity)
        if existence is None or _only_modifies(name, entities):
            continue
        place = starts[int(entity["start_ix"])]
        index = next((i for i, (a, b) in enumerate(spans) if a <= place < b), None)
        if index is None:
            continue
        looked_up = statements(_phrase(name, entities))
        if not looked_up:
            unread.add(index)
        for one in looked_up:
            if one.existence == "absent":
                # "Lungs clear": what is present denies findings. Not clear says little.
                if existence != "present":
                    continue
                stated = one
            else:
                stated = one._replace(existence=existence)
            if stated not in [statement for _, statement in found[index]]:
                found[index].append((place, stated))
    return [
        (
            _key(text[a:b]),
            tuple(one for _, one in sorted(said, key=lambda pair: pair[0])),
        )
        for index, ((a, b), said) in enumerate(zip(spans, found, strict=True))
        if said or index not in unread
    ]


def _only_modifies(name: str, entities: Mapping[str, Entity]) -> bool:
    """Whether an entity describes another observation ("small"), and is none itself."""
    return any(
        kind == "modify" and _existence(entities[other]) is not None
        for kind, other in entities[name]["relations"]
    )


def _phrase(name: str, entities: Mapping[str, Entity]) -> str:
    """Words of an observation, what modifies it, and where it is, in the text's order."""
    places = {o for kind, o in entities[name]["relations"] if kind == "located_at"}
    parts = {name, *places}
    parts |= {
        other
        for other, entity in entities.items()
        for kind, target in entity["relations"]
        if kind == "modify" and target in parts
    }
    ordered = sorted((int(entities[part]["start_ix"]), part) for part in parts)
    return " ".join(str(entities[part]["tokens"]) for _, part in ordered)
