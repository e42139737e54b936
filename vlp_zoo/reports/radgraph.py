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

What is stated and whether it is present comes from there; the words of an observation,
its modifiers and its anatomy are then looked up in our tables (`tags`, `anatomy`), which
know the 40 tags and 29 regions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
}


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
        path: JSON as above; ``entities`` may also lie below ``labeler_1``, as in the
            test split of the published data.

    Raises:
        DatasetNotFoundError: If the file is missing or of another form.
    """
    try:
        reports = parse_json(read_text(path))
        known: dict[str, tuple[Statement, ...]] = {}
        for report in reports.values():
            first = report.get("labeler_1", report)
            for key, found in _sentences(report["text"], first["entities"]):
                known.setdefault(key, found)
    except FileNotFoundError as error:
        raise DatasetNotFoundError(
            f"RadGraph annotations in {path}", "no such file", "check --model.radgraph"
        ) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatasetNotFoundError(
            f"RadGraph annotations in {path}: reports with 'text' and 'entities'",
            f"{type(error).__name__}: {error}",
            "give the JSON file that RadGraph wrote",
        ) from error
    return RadGraphStatements(known)


def _key(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def _sentences(
    text: str, entities: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, tuple[Statement, ...]]]:
    """Words and statements of each sentence of a report."""
    starts = [match.start() for match in re.finditer(r"\S+", text)]
    spans = sentence_spans(text)
    found: list[list[tuple[int, Statement]]] = [[] for _ in spans]
    for name, entity in entities.items():
        existence = EXISTENCE.get(entity["label"])
        if existence is None or _only_modifies(name, entities):
            continue
        place = starts[int(entity["start_ix"])]
        index = next((i for i, (a, b) in enumerate(spans) if a <= place < b), None)
        if index is None:
            continue
        for one in statements(_phrase(name, entities)):
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
        for (a, b), said in zip(spans, found, strict=True)
    ]


def _only_modifies(name: str, entities: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether an entity describes another observation ("small"), and is none itself."""
    return any(
        kind == "modify" and entities[other]["label"] in EXISTENCE
        for kind, other in entities[name]["relations"]
    )


def _phrase(name: str, entities: Mapping[str, Mapping[str, Any]]) -> str:
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
