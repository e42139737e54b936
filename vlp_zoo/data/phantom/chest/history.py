"""Why patients come, what they have, and how it goes on from study to study."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vlp_zoo.data.phantom.canvas import Rng
from vlp_zoo.data.phantom.chest.facts import LABELS, Finding, StudyFacts

__all__ = ["BACKGROUND", "DEVICES", "SCENARIOS", "draw_history"]

SCENARIOS: dict[str, tuple[float, dict[str, float]]] = {
    "well": (0.30, {"Support Devices": 0.08}),
    "heart failure": (
        0.19,
        {
            "Cardiomegaly": 0.75,
            "Edema": 0.62,
            "Pleural Effusion": 0.55,
            "Enlarged Cardiomediastinum": 0.10,
            "Atelectasis": 0.18,
            "Support Devices": 0.35,
        },
    ),
    "infection": (
        0.17,
        {
            "Pneumonia": 0.60,
            "Consolidation": 0.45,
            "Lung Opacity": 0.15,
            "Pleural Effusion": 0.25,
            "Atelectasis": 0.15,
            "Support Devices": 0.20,
        },
    ),
    "intensive care": (
        0.15,
        {
            "Support Devices": 0.90,
            "Atelectasis": 0.45,
            "Pleural Effusion": 0.35,
            "Edema": 0.20,
            "Pneumothorax": 0.18,
            "Consolidation": 0.15,
            "Lung Opacity": 0.15,
            "Cardiomegaly": 0.20,
            "Enlarged Cardiomediastinum": 0.15,
        },
    ),
    "injury": (
        0.07,
        {
            "Fracture": 0.75,
            "Pneumothorax": 0.45,
            "Pleural Effusion": 0.25,
            "Atelectasis": 0.15,
            "Lung Opacity": 0.15,
            "Enlarged Cardiomediastinum": 0.15,
        },
    ),
    "tumour": (
        0.08,
        {
            "Lung Lesion": 0.85,
            "Pleural Effusion": 0.25,
            "Atelectasis": 0.15,
            "Support Devices": 0.35,
            "Enlarged Cardiomediastinum": 0.15,
            "Pleural Other": 0.15,
        },
    ),
    "old age": (
        0.04,
        {
            "Cardiomegaly": 0.35,
            "Enlarged Cardiomediastinum": 0.5,
            "Pleural Other": 0.5,
            "Fracture": 0.15,
            "Support Devices": 0.3,
            "Atelectasis": 0.2,
        },
    ),
}
"""Why the patient comes: share of patients, and how often each finding follows."""

BACKGROUND = {
    "Atelectasis": 0.03,
    "Cardiomegaly": 0.05,
    "Enlarged Cardiomediastinum": 0.025,
    "Fracture": 0.015,
    "Lung Lesion": 0.02,
    "Lung Opacity": 0.03,
    "Pleural Effusion": 0.02,
    "Pleural Other": 0.04,
    "Pneumothorax": 0.01,
}
"""Findings that come with any reason but "well"."""

DEVICES = (
    ("endotracheal tube", 0.30),
    ("enteric tube", 0.30),
    ("central venous catheter", 0.45),
    ("pacemaker", 0.22),
    ("port", 0.15),
    ("sternotomy wires", 0.20),
)


def _zone(rng: Rng, weights: tuple[float, float, float]) -> str:
    return str(rng.choice(("upper", "mid", "lower"), p=weights))


def _side(rng: Rng, label: str) -> str:
    if label in ("Cardiomegaly", "Enlarged Cardiomediastinum"):
        return ""
    if label == "Edema":
        return "bilateral"
    both = {"Pleural Effusion": 0.45, "Atelectasis": 0.4, "Pneumonia": 0.3}
    if rng.random() < both.get(label, 0.0):
        return "bilateral"
    return "right" if rng.random() < 0.52 else "left"


def _devices(rng: Rng, others: list[Finding]) -> list[Finding]:
    kinds = [kind for kind, share in DEVICES if rng.random() < share]
    if not kinds:
        kinds = [str(rng.choice([kind for kind, _ in DEVICES]))]
    sides = {"central venous catheter": 0.7, "pacemaker": 0.15, "port": 0.75}
    found = []
    for kind in kinds:
        side = ""
        if kind in sides:
            side = "right" if rng.random() < sides[kind] else "left"
        found.append(_finding(rng, "Support Devices", kind, side, "", 0.5))
    # A pleural drain goes where there is something to drain.
    for other in others:
        wet = other.label == "Pneumothorax" or other.amount > 0.6
        if other.label in ("Pneumothorax", "Pleural Effusion") and wet:
            if rng.random() < 0.4:
                side = other.sides[0]
                found.append(
                    _finding(rng, "Support Devices", "chest tube", side, "lower", 0.5)
                )
            break
    return found


def _finding(
    rng: Rng,
    label: str,
    kind: str,
    side: str,
    zone: str,
    amount: float,
    certain: bool = True,
) -> Finding:
    seed = int(rng.integers(2**31))
    return Finding(label, kind, side, zone, amount, certain, "", seed)


def _new(rng: Rng, label: str) -> Finding:
    """A fresh finding of a label other than Support Devices."""
    side = _side(rng, label)
    amount = float(rng.beta(1.6, 1.6))
    certain = bool(rng.random() > 0.08)
    zone, kind = "", label.lower()
    match label:
        case "Atelectasis":
            zone = "lower" if rng.random() < 0.85 else "mid"
        case "Consolidation":
            zone = _zone(rng, (0.25, 0.25, 0.5))
        case "Pneumonia":
            zone = _zone(rng, (0.2, 0.25, 0.55))
        case "Lung Opacity":
            zone, kind = _zone(rng, (0.3, 0.3, 0.4)), "opacity"
        case "Lung Lesion":
            zone = _zone(rng, (0.45, 0.3, 0.25))
            kind = "mass" if amount > 0.5 else "nodule"
        case "Pleural Effusion":
            zone, kind = "lower", "effusion"
        case "Pneumothorax":
            zone = "apical"
        case "Pleural Other":
            zone = "apical" if rng.random() < 0.35 else "mid"
            kind = "pleural thickening"
            if zone == "mid" and rng.random() < 0.3:
                kind = "calcified pleural plaque"
        case "Fracture":
            kind, certain = "rib fracture", certain or rng.random() < 0.5
            zone = "mid"
            if rng.random() < 0.2:
                kind, zone = "clavicle fracture", ""
        case _:
            pass
    return _finding(rng, label, kind, side, zone, amount, certain)


def _first(rng: Rng, scenario: str, keep: float) -> list[Finding]:
    chances = dict(SCENARIOS[scenario][1])
    if scenario != "well":
        for label, chance in BACKGROUND.items():
            chances[label] = max(chances.get(label, 0.0), chance)
    found: list[Finding] = []
    for label in LABELS:
        chance = chances.get(label, 0.0) * keep
        if label != "Support Devices" and rng.random() < chance:
            found.append(_new(rng, label))
    if rng.random() < chances.get("Support Devices", 0.0) * keep:
        found += _devices(rng, found)
    return found


def _follow(rng: Rng, before: Finding) -> tuple[Finding | None, Finding | None]:
    """A finding in the next study: (still there, resolved), one of them None."""
    lasting = before.label in (
        "Cardiomegaly",
        "Enlarged Cardiomediastinum",
        "Pleural Other",
        "Lung Lesion",
        "Fracture",
    ) or before.kind in ("pacemaker", "port", "sternotomy wires")
    if rng.random() > (0.95 if lasting else 0.6):
        return None, before
    if before.label == "Support Devices" or lasting:
        return replace(before, change="unchanged"), None
    roll = rng.random()
    if roll < 0.4 or not before.certain:
        return replace(before, change="unchanged"), None
    if roll < 0.7:
        more = min(1.0, before.amount + float(rng.uniform(0.2, 0.4)))
        return replace(before, amount=more, change="increased"), None
    less = max(0.05, before.amount - float(rng.uniform(0.2, 0.4)))
    return replace(before, amount=less, change="decreased"), None


def draw_history(seed: int, patient: int, studies: int) -> list[StudyFacts]:
    """The examinations of one patient, in order of time.

    Args:
        seed: Seed of the phantom world.
        patient: Index in the world.
        studies: How many examinations; a longer history starts the same.
    """
    rng = np.random.default_rng((seed, 101, patient))
    names = list(SCENARIOS)
    scenario = str(rng.choice(names, p=[SCENARIOS[name][0] for name in names]))
    age = int(np.clip(rng.normal(35 if scenario == "well" else 62, 16), 18, 91))
    sex = "F" if rng.random() < 0.48 else "M"
    history: list[StudyFacts] = []
    for number in range(studies):
        resolved: list[Finding] = []
        if not history:
            findings = _first(rng, scenario, 1.0)
        else:
            findings = []
            for before in history[-1].findings:
                still, gone = _follow(rng, before)
                if still:
                    findings.append(still)
                if gone:
                    resolved.append(gone)
            had = {f.label for f in history[-1].findings}
            findings += [
                replace(fresh, change="new")
                for fresh in _first(rng, scenario, 0.35)
                if fresh.label not in had
            ]
        findings.sort(key=lambda f: LABELS.index(f.label))
        history.append(
            StudyFacts(
                patient,
                number,
                age,
                sex,
                scenario,
                tuple(findings),
                tuple(resolved),
                int(rng.integers(2**31)),
            )
        )
    return history
