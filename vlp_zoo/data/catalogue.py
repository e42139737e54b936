"""How data sets in their official layouts are loaded.

`card_of` finds a reader by the name of its data set. `load` turns the raw records of a reader into a source: it keeps the wanted
views, decides on uncertain labels and gives every record its split.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlp_zoo.data import DATASETS
from vlp_zoo.data.records import Card, Record, SplitRule, split_sha256
from vlp_zoo.data.splits import canonical, check_patients
from vlp_zoo.data.studies import FileStudies, wanted_rows
from vlp_zoo.data.tables import check_word
from vlp_zoo.errors import (
    ConfigError,
    DatasetNotFoundError,
    UnknownNameError,
)

__all__ = [
    "WORDS",
    "card_of",
    "decide_labels",
    "load",
    "policy",
    "split_of",
    "to_studies",
]

logger = logging.getLogger(__name__)

WORDS = {"nan": float("nan"), "one": 1.0, "zero": 0.0, "half": 0.5}
"""What one may say that -1 becomes."""


def policy(card: Card, uncertain: str, blank: str) -> float | Mapping[str, float]:
    """What becomes of labels that are not 1 or 0, from words of the command line.

    Args:
        card: Card of the data set.
        uncertain: ``"card"`` or one of `WORDS`, for -1.
        blank: One of `WORDS`, for labels left blank.

    Raises:
        ConfigError: For another word.
    """
    check_word(uncertain, ("card", *WORDS), "what uncertain labels become")
    check_word(blank, WORDS, "what blank labels become")
    chosen = card.uncertain if uncertain == "card" else WORDS[uncertain]
    if blank == "nan":
        return chosen
    labels = dict(chosen) if isinstance(chosen, Mapping) else {"*": chosen}
    return {**labels, "blank": WORDS[blank]}


def card_of(name: str) -> Card:
    """The card of a data set.

    Args:
        name: Name of a data set in `DATASETS`, or the path of a Python file of one's
            own that defines ``CARD``, as the readers of this package do. The file is
            run.

    Raises:
        UnknownNameError: If there is no such data set or file.
        ConfigError: If the file defines no card.
    """
    if name.endswith(".py"):
        return _own_card(Path(name))
    if name not in DATASETS:
        raise UnknownNameError(
            f"a data set called {name!r}",
            f"the known ones are {', '.join(DATASETS)}",
            "vlpzoo info datasets lists them; a reader of your own is named by its .py "
            "file",
        )
    card = importlib.import_module(DATASETS[name]).CARD
    assert isinstance(card, Card)
    return card


def _own_card(path: Path) -> Card:
    if not path.is_file():
        raise UnknownNameError(
            f"the reader {path}", "no such file", "give a Python file that defines CARD"
        )
    # Under the file's own name, and known, so that its classes can be pickled.
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    card = getattr(module, "CARD", None)
    if not isinstance(card, Card):
        raise ConfigError(
            f"CARD, a vlp_zoo.data.records.Card, in {path}",
            type(card).__name__,
            "define it as the readers in vlp_zoo/data/chest do",
        )
    return card


def load(
    card: Card,
    root: Path,
    *,
    split: str = "canonical",
    views: Sequence[str] | None = None,
    uncertain: float | Mapping[str, float] | None = None,
) -> tuple[FileStudies, list[str]]:
    """Read a data set as it lies on disk.

    Args:
        card: Which.
        root: Root folder of the data set.
        split: A rule of the card, or ``"canonical"`` (`vlp_zoo.data.splits.canonical`).
        views: Keep only these; None keeps all.
        uncertain: What -1 becomes; None is the card's own choice.

    Returns:
        The studies that the rule does not leave out, and the split of each.

    Raises:
        DatasetNotFoundError: If nothing of it is in ``root``, or no image has a view
            that is wanted.
        PatientLeakError: If the rule puts a patient on two sides and is not a legacy
            one that says so.
    """
    records = list(card.read(root))
    if not records:
        raise DatasetNotFoundError(
            f"images of {card.title} in {root}", "none listed", "download it again"
        )
    splits = split_of(card, records, split)
    present = [record.view for record in records]
    kept = wanted_rows(splits, present, views, f"images of {card.title}")
    return (
        to_studies(card, [records[i] for i in kept], uncertain=uncertain),
        [splits[i] for i in kept],
    )


def split_of(card: Card, records: Sequence[Record], name: str) -> list[str]:
    """The split of each record by a named rule, checked.

    Args:
        card: Card of the data set.
        records: All of them, in the order of the reader.
        name: A rule of the card, or ``"canonical"``.

    Raises:
        ConfigError: If there is no such rule.
        PatientLeakError: If a patient is on two sides and the rule is not legacy.
    """
    if name == "canonical":
        return canonical(records)
    rule = card.rule(name)
    splits = rule.assign(records)
    for issue in rule.issues:
        logger.warning("%s, split %s: %s", card.title, name, issue)
    _check_counts(card, name, rule, records, splits)
    if not rule.legacy and card.patients != "none":
        check_patients(
            f"{card.title}, split {name}",
            [record.patient_id for record in records],
            splits,
            "use --data.split canonical, or a legacy rule that says so",
        )
    return splits


def _check_counts(
    card: Card,
    name: str,
    rule: SplitRule,
    records: Sequence[Record],
    splits: Sequence[str],
) -> None:
    found = {s: n for s, n in Counter(splits).items() if s}
    if rule.counts and found != dict(rule.counts):
        logger.warning(
            "%s, split %s: %s images; the complete release has %s",
            card.title,
            name,
            found,
            dict(rule.counts),
        )
    elif rule.sha256:
        sha256 = split_sha256([record.uid for record in records], splits)
        if sha256 != rule.sha256:
            logger.warning(
                "%s, split %s: the right counts, but other images than published "
                "(SHA-256 %s instead of %s)",
                card.title,
                name,
                sha256[:12],
                rule.sha256[:12],
            )


def to_studies(
    card: Card,
    records: Sequence[Record],
    *,
    uncertain: float | Mapping[str, float] | None = None,
    raw: bool = False,
) -> FileStudies:
    """Records as a source.

    Args:
        card: Card of the data set.
        records: Records to keep, in order.
        uncertain: What -1 becomes; None is the card's own choice.
        raw: Keep -1, and visit no file for a fingerprint.
    """
    labels = np.array([record.labels for record in records], np.float32)
    labels = labels.reshape(len(records), len(card.label_names))
    if not raw:
        chosen = card.uncertain if uncertain is None else uncertain
        labels = decide_labels(labels, card.label_names, chosen)
    return FileStudies(
        card.title,
        uids=[record.uid for record in records],
        patient_ids=[record.patient_id for record in records],
        study_ids=[record.study_id for record in records],
        images=[record.image for record in records],
        texts=[record.text for record in records],
        rows=[record.row for record in records],
        views=[record.view for record in records],
        label_names=card.label_names,
        labels=labels,
        # MIMIC-CXR once had a reader of its own that left boxes blank: the fingerprint,
        # and with it every stored result, stays as it was.
        boxes=() if card.name == "mimic_cxr" else [record.boxes for record in records],
        masks=[record.masks for record in records],
        facts=[record.facts for record in records],
        colour=card.colour,
        original_sizes=[record.original_size for record in records],
        digests=[b""] * len(records) if raw else [],
    )


def decide_labels(
    raw: npt.NDArray[np.float32],
    names: Sequence[str],
    uncertain: float | Mapping[str, float],
) -> npt.NDArray[np.float32]:
    """Labels with -1 replaced.

    Args:
        raw: (N, K), values 1, 0, -1 and NaN.
        names: Names of the K labels.
        uncertain: One value for all, or one per label and ``"*"`` for the rest; labels
            that no entry covers stay unknown (NaN). ``"blank"`` says what becomes of
            labels that the data set leaves blank: without it they stay unknown.

    Returns:
        A copy without -1.

    Raises:
        ConfigError: If a name is not among the labels, or a value is not 0 to 1 or NaN.
    """
    blank = float("nan")
    if isinstance(uncertain, Mapping):
        unknown = [name for name in uncertain if name not in (*names, "*", "blank")]
        if unknown:
            raise ConfigError(
                f"labels among {', '.join(names)} in the policy for uncertain values",
                ", ".join(unknown),
                "correct the names",
            )
        rest = uncertain.get("*", float("nan"))
        values = [float(uncertain.get(name, rest)) for name in names]
        blank = float(uncertain.get("blank", blank))
    else:
        values = [float(uncertain)] * len(names)
    if any(value < 0 or value > 1 for value in (*values, blank)):
        raise ConfigError(
            "values from 0 to 1, or NaN, for uncertain labels",
            str(values),
            "give 0, 1, 0.5 or nan",
        )
    decided = raw.copy()
    decided[np.isnan(raw)] = blank
    for column, value in enumerate(values):
        decided[raw[:, column] == -1, column] = value
    return decided
