"""Splits by rule: the same patients on every machine, never one in two splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vlp_zoo.data.records import Record, SplitRule
from vlp_zoo.errors import ConfigError, DatasetNotFoundError, PatientLeakError

__all__ = [
    "as_released",
    "canonical",
    "canonical_after",
    "canonical_split",
    "check_patients",
    "patient_fraction",
    "released",
    "released_split",
    "split_patients",
    "validation_as_test",
]

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Spellings found in published lists, and what they are called here."""


def canonical_split(name: str) -> str | None:
    """``"train"``, ``"val"`` or ``"test"`` for any usual spelling; None for others."""
    return SPLITS.get(name.strip().lower())


def patient_fraction(patient_id: str, seed: int) -> float:
    """A number in [0, 1) that hangs on the patient and the seed alone.

    It is the first eight bytes of SHA-256 over ``"{seed}:{patient_id}"``, read as a
    big-endian integer and divided by 2**64. No list of patients enters, so a patient
    keeps the split when others are added or left out.
    """
    digest = hashlib.sha256(f"{seed}:{patient_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def check_patients(
    what: str, patient_ids: Sequence[str], splits: Sequence[str], do_this: str
) -> None:
    """Stop where a patient is in two splits, whatever runs on them.

    Ids that differ in capitals or blanks alone are taken for one patient here: the same
    person spelt twice is a leak that nobody would see.

    Args:
        what: Data set and split, for the message.
        patient_ids: One per row.
        splits: One per row; "" is in none.
        do_this: The way out.

    Raises:
        PatientLeakError: Naming some of them.
    """
    sides: dict[str, set[str]] = {}
    spelt: dict[str, set[str]] = {}
    # Once for each pair: there are several images of most patients.
    for patient, split in set(zip(patient_ids, splits, strict=True)):
        if split:
            key = " ".join(patient.casefold().split())
            sides.setdefault(key, set()).add(split)
            spelt.setdefault(key, set()).add(patient)
    shared = sorted(key for key, names in sides.items() if len(names) > 1)
    if shared:
        shown = [" = ".join(sorted(spelt[key])) for key in shared[:5]]
        more = ", ..." if len(shared) > 5 else ""
        raise PatientLeakError(
            f"every patient in one split of {what}",
            f"{len(shared)} patients in several: {', '.join(shown)}{more}",
            do_this,
        )


def split_patients(
    patient_ids: Sequence[str], *, val: float, test: float, seed: int = 0
) -> list[str]:
    """A split name for each row, by patient.

    Patients whose fraction is below ``test`` go to test, the next ``val`` to val and
    the rest to train. Shares hold for patients on average, not exactly.

    Args:
        patient_ids: One per row.
        val: Share of patients for validation.
        test: Share of patients for the test split.
        seed: Another seed gives another split.

    Returns:
        ``"train"``, ``"val"`` or ``"test"`` per row.

    Raises:
        ConfigError: If the shares leave nothing to train on or are negative.
    """
    if val < 0 or test < 0 or val + test >= 1:
        raise ConfigError(
            "shares for val and test that are not negative and leave some for train",
            f"val_fraction {val}, test_fraction {test}",
            "give shares such as 0.1 and 0.1",
        )
    names = {}
    for patient in set(patient_ids):
        fraction = patient_fraction(patient, seed)
        late = "val" if fraction < test + val else "train"
        names[patient] = "test" if fraction < test else late
    return [names[patient] for patient in patient_ids]


def canonical(
    records: Sequence[Record], *, val: float = 0.1, test: float = 0.2
) -> list[str]:
    """The split this project reports on: by patient, stratified, the same everywhere.

    A released test (and validation) set is kept. What is not released is drawn: test
    patients from all, validation patients from those who are left. Patients are grouped
    by the rarest label that any of their images has; inside a group they are ordered by
    `patient_fraction` with seed 0 and the first share of them goes to the new split, so
    that every label keeps its prevalence and rare ones reach all sides.

    Where a patient has images in several released splits, all of them go to the test
    set if one is there, else to validation: nobody is ever on two sides.

    Args:
        records: All of a data set.
        val: Share of patients to validate on, where no validation set is released.
        test: Share of patients to test on, where no test set is released.

    Returns:
        ``"train"``, ``"val"`` or ``"test"`` per record.
    """
    released: dict[str, set[str]] = {}
    for record in records:
        released.setdefault(record.patient_id, set()).add(record.split)
    names = {
        patient: next((s for s in ("test", "val") if s in splits), "train")
        for patient, splits in released.items()
    }
    groups = _rarest_label(records)
    for split, share in (("test", test), ("val", val)):
        if split not in names.values():
            pool = [patient for patient, name in names.items() if name == "train"]
            for patient in _drawn(pool, groups, share):
                names[patient] = split
    return [names[record.patient_id] for record in records]


def _rarest_label(records: Sequence[Record]) -> dict[str, int]:
    """For each patient the label with the fewest positive patients; -1 for none."""
    positive: dict[str, set[int]] = {}
    for record in records:
        found = {k for k, value in enumerate(record.labels) if value == 1}
        positive.setdefault(record.patient_id, set()).update(found)
    counts = Counter(label for labels in positive.values() for label in labels)
    return {
        patient: min(labels, key=lambda label: (counts[label], label), default=-1)
        for patient, labels in positive.items()
    }


def _drawn(pool: Sequence[str], groups: Mapping[str, int], share: float) -> list[str]:
    members: dict[int, list[str]] = {}
    for patient in pool:
        members.setdefault(groups[patient], []).append(patient)
    drawn = []
    # Rounding each group alone would drift by half a patient per label.
    owed = 0.0
    for group in sorted(members):
        ordered = sorted(members[group], key=lambda p: (patient_fraction(p, 0), p))
        owed += share * len(ordered)
        count = min(len(ordered), max(round(owed), 1 if len(ordered) > 2 else 0))
        owed -= count
        drawn += ordered[:count]
    # A handful of patients still needs one on each side.
    return drawn or sorted(pool, key=lambda p: (patient_fraction(p, 0), p))[:1]


def as_released(records: Sequence[Record]) -> list[str]:
    """The rule that keeps what was released and draws nothing."""
    return [record.split for record in records]


def canonical_after(
    records: Sequence[Record], side: Callable[[Record], str | None]
) -> list[str]:
    """The canonical rule where other images count as released for a side.

    Args:
        records: All of a data set.
        side: The split that an image counts as released in, "" for none; None leaves
            the image out, and its patient is no reason for anything.

    Returns:
        ``"train"``, ``"val"`` or ``"test"`` per record, "" for those left out.
    """
    sides = [side(record) for record in records]
    kept = [
        replace(record, split=name)
        for record, name in zip(records, sides, strict=True)
        if name is not None
    ]
    names = iter(canonical(kept))
    return ["" if name is None else next(names) for name in sides]


def validation_as_test(records: Sequence[Record]) -> list[str]:
    """The rule that tests on the released validation images, and draws others."""
    sides = {"val": "test", "test": None}
    return canonical_after(
        records, lambda record: sides.get(record.split, record.split)
    )


def released(what: str, missing: str, **about: Any) -> SplitRule:
    """What `released_split` assigns, as a rule.

    Args:
        what: Files of the release that hold the split, for the message.
        missing: What to do when they are not there.
        **about: What else `SplitRule` says of it.
    """
    return SplitRule(released_split(what, missing), **about)


def released_split(what: str, missing: str) -> Callable[[Sequence[Record]], list[str]]:
    """A rule that keeps what was released and draws what was not.

    Images that are in no released part are left out; where no validation set was
    released, the canonical rule draws it from the training set.

    Args:
        what: Files of the release that hold the split, for the message.
        missing: What to do when they are not there.
    """

    def assign(records: Sequence[Record]) -> list[str]:
        if not any(record.split == "test" for record in records):
            raise DatasetNotFoundError(what, "no image in a released test set", missing)
        names = canonical(records)
        return [name if r.split else "" for name, r in zip(names, records, strict=True)]

    return assign
