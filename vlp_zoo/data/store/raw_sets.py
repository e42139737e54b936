"""A raw data set as `vlp_zoo.data.store.prepare` takes it in: metadata first, then in slices.

Split rules need all records at once; images do not. So the tables are read twice: once
to keep the light columns and assign every split, once to hand out slices of studies
whose images nobody has opened. Data sets are read as unpacked folders; nothing here
looks into an archive.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from vlp_zoo.data.catalogue import split_of, to_studies
from vlp_zoo.data.pairs import PairColumns, read_pairs, splits_of
from vlp_zoo.data.records import Card, Record, split_sha256
from vlp_zoo.data.studies import FileStudies
from vlp_zoo.errors import DatasetNotFoundError, StoreError, VLPZooError
from vlp_zoo.types import Report

__all__ = ["RawSet", "scan_card", "scan_pairs"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawSet:
    """What is known before any image is opened.

    Attributes:
        root: Folder of the images.
        card: JSON facts of the data set, for the store's description.
        label_names: Names of the K label columns.
        uids: Identifiers of all records in the order of the tables; not yet checked to
            be unique.
        released: The released split of each, "" for none.
        splits: Rule to the split of each record, "" where the rule leaves it out.
        rules: Rule to JSON facts about it; those that could not be applied say why.
        fingerprint: SHA-256 of all metadata.
        read: ``read(size)`` yields all studies in slices of ``size``, labels raw.
    """

    root: Path
    card: Mapping[str, Any]
    label_names: tuple[str, ...]
    uids: Sequence[str]
    released: Sequence[str]
    splits: Mapping[str, Sequence[str]]
    rules: Mapping[str, Mapping[str, Any]]
    fingerprint: str
    read: Callable[[int], Iterator[FileStudies]] = field(repr=False)


def scan_card(card: Card, root: Path) -> RawSet:
    """The metadata pass over a data set in its official layout.

    Args:
        card: Card of the data set.
        root: Root folder of the data set.

    Raises:
        DatasetNotFoundError: If it is not there.
    """
    digest = hashlib.sha256()
    light: list[Record] = []
    shared: dict[Any, Any] = {}
    for record in card.read(root):
        digest.update(_metadata(record, root))
        # Texts are the bulk of the metadata, and no rule reads them. Most images share
        # their labels with many others: one tuple serves them all.
        labels = shared.setdefault(record.labels, record.labels)
        light.append(replace(record, text="", labels=labels))
    if not light:
        raise DatasetNotFoundError(
            f"images of {card.title} in {root}", "none listed", "download it again"
        )
    splits, rules = _assign(card, light)
    uids = [record.uid for record in light]

    def read(size: int) -> Iterator[FileStudies]:
        position, records = 0, card.read(root)
        while chunk := list(islice(records, size)):
            if [r.uid for r in chunk] != uids[position : position + len(chunk)]:
                raise _changed(root)
            position += len(chunk)
            yield to_studies(card, chunk, raw=True)
        if position != len(uids):
            raise _changed(root)

    return RawSet(
        root=root,
        card=_card_facts(card),
        label_names=card.label_names,
        uids=uids,
        released=[record.split for record in light],
        splits=splits,
        rules=rules,
        fingerprint=digest.hexdigest(),
        read=read,
    )


def scan_pairs(
    path: Path,
    columns: PairColumns | None = None,
    *,
    image_root: Path | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    split_seed: int = 0,
) -> RawSet:
    """A table of images and reports (`vlp_zoo.data.pairs`) as a raw data set.

    ``canonical`` is the table's own split, else the one by patient hash that
    ``--data pairs`` would draw.

    Args:
        path: The table.
        columns: Names of its columns.
        image_root: Folder that image paths start from; None = the table's own.
        val_fraction: Share of patients to validate on, without a split column.
        test_fraction: Share of patients to test on, without a split column.
        split_seed: Seed of the split by patient hash.
    """
    studies, released = read_pairs(path, columns, image_root=image_root)
    splits = splits_of(
        path, studies, released, val=val_fraction, test=test_fraction, seed=split_seed
    )
    root = image_root if image_root is not None else path.parent
    rule = {
        "level": "patient",
        "source": "patient hash" if released is None else path.name,
    }
    texts = [text if isinstance(text, str) else repr(text) for text in studies.texts]
    digest = hashlib.sha256(
        repr((studies.fingerprint, splits, texts)).encode("utf-8", "replace")
    )

    def read(size: int) -> Iterator[FileStudies]:
        for start in range(0, len(studies), size):
            stop = min(start + size, len(studies))
            yield studies.subset(range(start, stop), studies.name)

    return RawSet(
        root=root,
        card={
            "name": "pairs",
            "title": studies.name,
            "domain": "chest",
            "gives": ["reports", "labels", "boxes"],
            "patients": "proxy",
            "single_label": False,
            "uncertain": "nan",
            "access": "",
            "licence": "",
            "citation": "",
            "overlaps": [],
        },
        label_names=studies.label_names,
        uids=studies.uids,
        released=released or [""] * len(studies),
        splits={"canonical": splits},
        rules={"canonical": _rule_facts(studies.uids, splits, rule)},
        fingerprint=digest.hexdigest(),
        read=read,
    )


def _metadata(record: Record, root: Path) -> bytes:
    text = record.text
    if isinstance(text, Path):
        text = _inside(text, root)
    elif isinstance(text, Report):
        text = repr(text)
    masks = [
        replace(mask, ref=_inside(mask.ref, root))
        if isinstance(mask.ref, Path)
        else mask
        for mask in record.masks
    ]
    image = _inside(record.image, root)
    facts = (
        (record.uid, image, record.patient_id, record.study_id, text, record.view),
        (record.split, record.labels, record.boxes, masks, record.row),
        sorted(record.facts.items()),
    )
    return repr(facts).encode("utf-8", "backslashreplace")


def _inside(path: Path, root: Path) -> str:
    """Relative to the root, so that a data set may move between two attempts."""
    return os.path.relpath(path, root)


def _assign(
    card: Card, records: Sequence[Record]
) -> tuple[dict[str, list[str]], dict[str, dict[str, Any]]]:
    splits: dict[str, list[str]] = {}
    rules: dict[str, dict[str, Any]] = {}
    uids = [record.uid for record in records]
    for name in dict.fromkeys(["canonical", *card.splits]):
        rule = card.splits.get(name)
        facts: dict[str, Any] = {"level": "patient", "source": "canonical rule"}
        if rule is not None:
            facts = {"level": rule.level, "source": rule.source, "legacy": rule.legacy}
            facts["issues"] = list(rule.issues)
        try:
            splits[name] = split_of(card, records, name)
        except VLPZooError as error:
            # One list that is not there must not cost the other splits.
            rules[name] = {**facts, "left_out": str(error)}
            logger.warning("%s: no split %s in the store\n%s", card.title, name, error)
        else:
            rules[name] = _rule_facts(uids, splits[name], facts)
    return splits, rules


def _rule_facts(
    uids: Sequence[str], splits: Sequence[str], facts: Mapping[str, Any]
) -> dict[str, Any]:
    return {**facts, "sha256": split_sha256(uids, splits)}


def _card_facts(card: Card) -> dict[str, Any]:
    uncertain = card.uncertain
    return {
        "name": card.name,
        "title": card.title,
        "domain": card.domain,
        "gives": list(card.gives),
        "patients": card.patients,
        "single_label": card.single_label,
        # As words: JSON knows no NaN.
        "uncertain": {name: str(value) for name, value in uncertain.items()}
        if isinstance(uncertain, Mapping)
        else str(uncertain),
        "access": card.access,
        "licence": card.licence,
        "citation": card.citation,
        "overlaps": list(card.overlaps),
    }


def _changed(root: Path) -> StoreError:
    return StoreError(
        f"the same records in {root} when its tables are read a second time",
        "others",
        "let nothing write to the data set while it is prepared, and start again",
    )
