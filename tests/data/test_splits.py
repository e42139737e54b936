"""Splits by patient: disjoint, stable, of about the asked size."""

from __future__ import annotations

from collections import Counter

import pytest

from vlp_zoo.data.splits import canonical_split, patient_fraction, split_patients
from vlp_zoo.errors import ConfigError


def test_rows_of_a_patient_stay_together() -> None:
    patients = [f"p{i % 300}" for i in range(900)]
    splits = split_patients(patients, val=0.2, test=0.3)
    assert len(set(zip(patients, splits, strict=True))) == 300


def test_shares_are_about_as_asked() -> None:
    counts = Counter(split_patients([f"p{i}" for i in range(4000)], val=0.1, test=0.2))
    assert counts["val"] == pytest.approx(400, abs=60)
    assert counts["test"] == pytest.approx(800, abs=80)


def test_a_patient_keeps_the_split_when_others_come() -> None:
    few = [f"p{i}" for i in range(50)]
    many = [f"q{i}" for i in range(50)] + few
    alone = split_patients(few, val=0.2, test=0.2)
    assert split_patients(many, val=0.2, test=0.2)[50:] == alone


def test_the_rule_is_fixed_for_good() -> None:
    assert patient_fraction("IU1", 0) == pytest.approx(0.8448823103, abs=1e-9)
    assert patient_fraction("IU1", 1) != patient_fraction("IU1", 0)


def test_empty_splits_and_impossible_shares() -> None:
    assert set(split_patients(["a", "b", "c"], val=0, test=0)) == {"train"}
    with pytest.raises(ConfigError, match=r"val_fraction 0\.5"):
        split_patients(["a"], val=0.5, test=0.5)


def test_usual_spellings_are_known() -> None:
    names = ["train", "Validate", " valid", "val", "TEST", "holdout"]
    found = [canonical_split(name) for name in names]
    assert found == ["train", "val", "val", "val", "test", None]
