"""What is true of a phantom patient: findings with side, zone, severity and history.

Facts are drawn first. Pixels (`frontal`, `lateral`) and words (`reports`) are made
from them, so they cannot disagree. How a study was exposed is drawn elsewhere
(`acquisition`) from a generator that never sees a finding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlp_zoo.reports.words.lexicon import CHEXPERT

__all__ = [
    "LABELS",
    "OPACITIES",
    "Finding",
    "StudyFacts",
    "catheter_route",
    "label_states",
    "tube_height",
]

LABELS: tuple[str, ...] = tuple(CHEXPERT)
"""The 14 CheXpert labels in alphabetical order, as in the MIMIC-CXR-JPG tables."""

OPACITIES = frozenset({"Consolidation", "Lung Opacity", "Pneumonia"})
"""Findings that are also a lung opacity; their sentences say so."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is drawn and reported.

    Attributes:
        label: Name among `LABELS`.
        kind: More exact name: ``"nodule"``, ``"port"``, ``"rib fracture"``.
        side: ``"left"``, ``"right"`` or ``"bilateral"``; "" where it has none.
        zone: ``"upper"``, ``"mid"``, ``"lower"`` or ``"apical"``; "" where none.
        amount: Extent from 0 to 1; severity words follow from it.
        certain: False for a faint finding about which the report hedges.
        change: Against the prior study: ``"new"``, ``"unchanged"``, ``"increased"``,
            ``"decreased"``; "" without a prior.
        seed: Seed of the finding's shape, kept from study to study.
    """

    label: str
    kind: str
    side: str
    zone: str
    amount: float
    certain: bool
    change: str
    seed: int

    @property
    def severity(self) -> str:
        """``"mild"``, ``"moderate"`` or ``"severe"`` (written as fits the finding)."""
        if self.amount < 0.4:
            return "mild"
        return "moderate" if self.amount < 0.72 else "severe"

    @property
    def radius(self) -> float:
        """Radius of a nodule or a mass, in body units."""
        if self.kind == "mass":
            return 0.042 + 0.05 * (self.amount - 0.5)
        return 0.021 + 0.024 * self.amount

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides on which it is drawn."""
        if self.side == "bilateral":
            return ("right", "left")
        return (self.side,) if self.side else ()


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """One examination of one patient.

    Attributes:
        patient: Index of the patient in the world.
        number: Index of the study among the patient's studies.
        age: Years.
        sex: ``"F"`` or ``"M"``.
        scenario: Why the patient comes, a key of `history.SCENARIOS`.
        findings: What is present.
        resolved: What the prior study showed and this one does not.
        seed: Seed of the words and the exposure.
    """

    patient: int
    number: int
    age: int
    sex: str
    scenario: str
    findings: tuple[Finding, ...]
    resolved: tuple[Finding, ...]
    seed: int


def label_states(facts: StudyFacts) -> dict[str, float]:
    """Each label as 1 (present), 0 (absent) or -1 (uncertain).

    Consolidation and pneumonia also are lung opacities, as in the CheXpert tree.
    "No Finding" allows support devices, as the CheXpert labeller does.
    """
    states = dict.fromkeys(LABELS, 0.0)
    for finding in facts.findings:
        names = {finding.label}
        if finding.label in OPACITIES:
            names.add("Lung Opacity")
        for name in names:
            if finding.certain:
                states[name] = 1.0
            elif states[name] == 0.0:
                states[name] = -1.0
    diseases = [
        state
        for name, state in states.items()
        if name not in ("No Finding", "Support Devices")
    ]
    states["No Finding"] = float(not any(diseases))
    return states


def tube_height(finding: Finding) -> float:
    """Distance of an endotracheal tube's tip above the carina, in body units."""
    return float(np.random.default_rng((finding.seed, 4)).uniform(0.04, 0.11))


def catheter_route(finding: Finding) -> str:
    """The vein by which a central venous catheter enters."""
    jugular = np.random.default_rng((finding.seed, 5)).random() < 0.5
    return "internal jugular" if jugular else "subclavian"
