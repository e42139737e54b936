"""Splits by rule: the same patients on every machine, never one in two splits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from vlp_zoo.errors import ConfigError

__all__ = ["canonical_split", "patient_fraction", "split_patients"]

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
