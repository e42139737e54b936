"""Why patients come, what they have, and how it goes on from study to study."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vlp_zoo.data.phantom.canvas import Rng
from vlp_zoo.data.phantom.chest.facts import LABELS, Finding, StudyFacts

__all__ = ["CHANCES", "DEVICES", "SCENARIOS", "draw_history"]

SCENARIOS: dict[str, float] = {
    "well": 0.3,
    "heart failure": 0.19,
    "infection": 0.17,
    "intensive care": 0.15,
    "injury": 0.07,
    "tumour": 0.08,
    "old age": 0.04,
}
"""Why patients come, and the share of each reason."""

CHANCES = {
    "Atelectasis": (0, 0.18, 0.15, 0.45, 0.15, 0.15, 0.2),
    "Cardiomegaly": (0, 0.75, 0.05, 0.2, 0.05, 0.05, 0.35),
    "Consolidation": (0, 0, 0.45, 0.15, 0, 0, 0),
    "Edema": (0, 0.62, 0, 0.2, 0, 0, 0),
    "Enlarged Cardiomediastinum": (0, 0.1, 0.025, 0.15, 0.15, 0.15, 0.5),
    "Fracture": (0, 0.015, 0.015, 0.015, 0.75, 0.015, 0.15),
    "Lung Lesion": (0, 0.02, 0.02, 0.02, 0.02, 0.85, 0.02),
    "Lung Opacity": (0, 0.03, 0.15, 0.15, 0.15, 0.03, 0.03),
    "No Finding": (0, 0, 0, 0, 0, 0, 0),
    "Pleural Effusion": (0, 0.55, 0.25, 0.35, 0.25, 0.25, 0.02),
    "Pleural Other": (0, 0.04, 0.04, 0.04, 0.04, 0.15, 0.5),
    "Pneumonia": (0, 0, 0.6, 0, 0, 0, 0),
    "Pneumothorax": (0, 0.01, 0.01, 0.18, 0.45, 0.01, 0.01),
    "Support Devices": (0.08, 0.35, 0.2, 0.9, 0, 0.35, 0.3),
}
"""How often each finding is there, in the order of `SCENARIOS`."""

DEVICES = (
    ("endotracheal tube", 0.30, 0.0),
    ("enteric tube", 0.30, 0.0),
    ("central venous catheter", 0.45, 0.7),
    ("pacemaker", 0.22, 0.15),
    ("port", 0.15, 0.75),
    ("sternotomy wires", 0.20, 0.0),
)
"""Devices, how often each is there, and how often on the right if it has a side."""

BILATERAL = {"Pleural Effusion": 0.45, "Atelectasis": 0.4, "Pneumonia": 0.3}
"""How often findings are on both sides, as edema always is."""

ZONES = {
    "Consolidation": (0.25, 0.25, 0.5),
    "Pneumonia": (0.2, 0.25, 0.55),
    "Lung Opacity": (0.3, 0.3, 0.4),
    "Lung Lesion": (0.45, 0.3, 0.25),
}
"""How often findings are in the upper, the mid and the lower zone."""

KINDS = {
    "Fracture": "rib fracture",
    "Lung Opacity": "opacity",
    "Pleural Effusion": "effusion",
    "Pleural Other": "pleural thickening",
}
"""Kinds that are not called as their labels are."""


def _side(rng: Rng, label: str) -> str:
    if label in ("Cardiomegaly", "Enlarged Cardiomediastinum"):
        return ""
    if label == "Edema" or rng.random() < BILATERAL.get(label, 0.0):
        return "bilateral"
    return "right" if rng.random() < 0.52 else "left"


def _device(rng: Rng, kind: str, side: str, zone: str = "") -> Finding:
    seed = int(rng.integers(2**31))
    return Finding("Support Devices", kind, side, zone, 0.5, True, "", seed)


def _devices(rng: Rng, others: list[Finding]) -> list[Finding]:
    there = [device for device in DEVICES if rng.random() < device[1]]
    found = []
    for kind, _, right in there or [DEVICES[int(rng.choice(len(DEVICES)))]]:
        side = ""
        if right:
            side = "right" if rng.random() < right else "left"
        found.append(_device(rng, kind, side))
    # A pleural drain goes where there is something to drain.
    for other in others:
        wet = other.label == "Pneumothorax" or other.amount > 0.6
        if other.label in ("Pneumothorax", "Pleural Effusion") and wet:
            if rng.random() < 0.4:
                found.append(_device(rng, "chest tube", other.sides[0], "lower"))
            break
    return found


def _new(rng: Rng, label: str) -> Finding:
    """A fresh finding of a label other than Support Devices."""
    side = _side(rng, label)
    amount = float(rng.beta(1.6, 1.6))
    certain = bool(rng.random() > 0.08)
    zone, kind = "", KINDS.get(label, label.lower())
    match label:
        case "Consolidation" | "Pneumonia" | "Lung Opacity" | "Lung Lesion":
            zone = str(rng.choice(("upper", "mid", "lower"), p=ZONES[label]))
            if label == "Lung Lesion":
                kind = "mass" if amount > 0.5 else "nodule"
        case "Atelectasis":
            zone = "lower" if rng.random() < 0.85 else "mid"
        case "Pleural Effusion":
            zone = "lower"
        case "Pneumothorax":
            zone = "apical"
        case "Pleural Other":
            zone = "apical" if rng.random() < 0.35 else "mid"
            if zone == "mid" and rng.random() < 0.3:
                kind = "calcified pleural plaque"
        case "Fracture":
            certain, zone = certain or rng.random() < 0.5, "mid"
            if rng.random() < 0.2:
                kind, zone = "clavicle fracture", ""
    seed = int(rng.integers(2**31))
    return Finding(label, kind, side, zone, amount, certain, "", seed)


def _first(rng: Rng, scenario: str, keep: float) -> list[Finding]:
    column = list(SCENARIOS).index(scenario)
    found: list[Finding] = []
    for label, chances in CHANCES.items():
        if rng.random() < chances[column] * keep:
            devices = label == "Support Devices"
            found += _devices(rng, found) if devices else [_new(rng, label)]
    return found


LASTING = frozenset(
    {"Cardiomegaly", "Enlarged Cardiomediastinum", "Pleural Other", "Lung Lesion"}
    | {"Fracture", "pacemaker", "port", "sternotomy wires"}
)
"""Labels and kinds that hardly ever go away, and do not change."""


def _follow(rng: Rng, before: Finding) -> Finding | None:
    """A finding in the next study; None where it has resolved."""
    lasting = not LASTING.isdisjoint((before.label, before.kind))
    if rng.random() > (0.95 if lasting else 0.6):
        return None
    if before.label == "Support Devices" or lasting:
        return replace(before, change="unchanged")
    roll = rng.random()
    if roll < 0.4 or not before.certain:
        return replace(before, change="unchanged")
    step = float(rng.uniform(0.2, 0.4))
    if roll < 0.7:
        return replace(
            before, amount=min(1.0, before.amount + step), change="increased"
        )
    return replace(before, amount=max(0.05, before.amount - step), change="decreased")


def draw_history(seed: int, patient: int, studies: int) -> list[StudyFacts]:
    """The examinations of one patient, in order of time.

    Args:
        seed: Seed of the phantom world.
        patient: Index in the world.
        studies: How many examinations; a longer history starts the same.
    """
    rng = np.random.default_rng((seed, 101, patient))
    names = list(SCENARIOS)
    scenario = str(rng.choice(names, p=list(SCENARIOS.values())))
    age = int(np.clip(rng.normal(35 if scenario == "well" else 62, 16), 18, 91))
    sex = "F" if rng.random() < 0.48 else "M"
    history: list[StudyFacts] = []
    for number in range(studies):
        resolved: list[Finding] = []
        before = history[-1].findings if history else ()
        findings: list[Finding] = []
        for finding in before:
            still = _follow(rng, finding)
            (findings if still else resolved).append(still or finding)
        had = {finding.label for finding in before}
        findings += [
            replace(fresh, change="new" if history else "")
            for fresh in _first(rng, scenario, 0.35 if history else 1.0)
            if fresh.label not in had
        ]
        findings.sort(key=lambda f: LABELS.index(f.label))
        seed = int(rng.integers(2**31))
        known = (patient, number, age, sex, scenario)
        history.append(StudyFacts(*known, tuple(findings), tuple(resolved), seed))
    return history
