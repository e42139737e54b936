"""What is true of a phantom eye: grades, cup, stages, and the lesions they bring.

Facts are drawn first. Pixels (`photograph`) and words (`reports`) are made from them,
so they cannot disagree. How a picture was taken is drawn elsewhere (`camera`) from a
generator that never sees a lesion.

Grades are those of the International Clinical Diabetic Retinopathy scale: 0 none,
1 microaneurysms only, 2 more than that, 3 hemorrhages in all four quadrants or
venous beading, 4 neovascularization or preretinal hemorrhage. Macular edema is what a
photograph can show of it: hard exudates within a disc diameter of the fovea.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

__all__ = [
    "EYES",
    "KINDS",
    "LABELS",
    "LESION_LABELS",
    "QUADRANTS",
    "EyeFacts",
    "Lesion",
    "label_states",
]

LABELS: tuple[str, ...] = (
    "normal",
    "diabetic retinopathy",
    "referable diabetic retinopathy",
    "proliferative diabetic retinopathy",
    "macular edema",
    "glaucoma",
    "age-related macular degeneration",
    "microaneurysms",
    "hemorrhages",
    "hard exudates",
    "cotton wool spots",
    "neovascularization",
    "drusen",
    "geographic atrophy",
    "laser scars",
)
"""Diagnoses of one eye, then the lesions that have masks."""

LESION_LABELS = LABELS[7:]

EYES = ("right", "left")

QUADRANTS = (
    "superotemporal",
    "inferotemporal",
    "superonasal",
    "inferonasal",
)
"""Quarters of the field about the fovea."""

KINDS: dict[str, str] = {
    "laser scars": "laser scars",
    "drusen": "drusen",
    "geographic atrophy": "geographic atrophy",
    "hard exudates": "hard exudates",
    "microaneurysms": "microaneurysms",
    "blot hemorrhages": "hemorrhages",
    "flame hemorrhages": "hemorrhages",
    "disc hemorrhage": "hemorrhages",
    "subretinal hemorrhage": "hemorrhages",
    "cotton wool spots": "cotton wool spots",
    "disc neovascularization": "neovascularization",
    "peripheral neovascularization": "neovascularization",
    "preretinal hemorrhage": "hemorrhages",
}
"""Kind of lesion to its label, in the order in which they are drawn, deepest first."""

AGED = frozenset({"drusen", "geographic atrophy", "subretinal hemorrhage"})
NEW_VESSELS = frozenset({"disc neovascularization", "peripheral neovascularization"})
PROLIFERATIVE = NEW_VESSELS | {"preretinal hemorrhage"}
BACKGROUND = frozenset({"blot hemorrhages", "flame hemorrhages", "hard exudates"})
BEYOND = PROLIFERATIVE | BACKGROUND | {"cotton wool spots"}
"""What diabetes brings beyond microaneurysms."""


@dataclass(frozen=True, slots=True)
class Lesion:
    """All lesions of one kind in one eye: drawn together, reported together.

    Attributes:
        kind: Key of `KINDS`.
        places: Among `QUADRANTS`, ``"macula"`` and ``"optic disc"``.
        amount: Extent from 0 to 1; number and size follow from it.
        certain: False for faint ones about which the report hedges.
        change: Against the prior visit: ``"new"``, ``"unchanged"``, ``"increased"``,
            ``"decreased"``; "" without a prior.
        seed: Seed of shapes and positions, kept from visit to visit.
    """

    kind: str
    places: tuple[str, ...]
    amount: float
    certain: bool
    change: str
    seed: int

    @property
    def label(self) -> str:
        """Name among `LABELS`."""
        return KINDS[self.kind]

    @property
    def severity(self) -> str:
        """``"mild"``, ``"moderate"`` or ``"severe"`` (worded as fits the kind)."""
        if self.amount < 0.4:
            return "mild"
        return "moderate" if self.amount < 0.72 else "severe"


@dataclass(frozen=True, slots=True)
class EyeFacts:
    """One eye at one visit.

    Attributes:
        patient: Index of the patient in the world.
        number: Index of the visit among the patient's visits.
        eye: ``"right"`` or ``"left"``.
        age: Years.
        sex: ``"F"`` or ``"M"``.
        scenario: Why the patient comes, a key of `history.SCENARIOS`.
        dr_grade: 0 to 4, see the module's words.
        cup: Vertical cup to disc ratio.
        notch: ``"inferior"`` or ``"superior"`` loss of the rim; "" for none.
        glaucoma: 1 present, 0 absent, -1 suspected.
        amd: ``""``, ``"early"``, ``"intermediate"`` or ``"late"``.
        beading: Whether veins are beaded.
        lesions: What is drawn.
        resolved: Kinds that the prior visit showed and this one does not.
        change: Change of the retinopathy against the prior visit: ``"progressed"``,
            ``"regressed"``, ``"unchanged"``; "" without either.
    """

    patient: int
    number: int
    eye: str
    age: int
    sex: str
    scenario: str
    dr_grade: int
    cup: float
    notch: str
    glaucoma: int
    amd: str
    beading: bool
    lesions: tuple[Lesion, ...]
    resolved: tuple[str, ...]
    change: str


def _state(lesions: Iterable[Lesion]) -> float:
    """1 if any is certain, -1 if all are doubtful, 0 without any."""
    certain = [lesion.certain for lesion in lesions]
    return (1.0 if any(certain) else -1.0) if certain else 0.0


def label_states(facts: EyeFacts) -> dict[str, float]:
    """Each label as 1 (present), 0 (absent) or -1 (uncertain).

    Referable means grade 2 or more, as in the studies of automated screening.
    """

    def state(kinds: Collection[str], place: str = "") -> float:
        return _state(
            lesion
            for lesion in facts.lesions
            if lesion.kind in kinds and (not place or place in lesion.places)
        )

    states = {
        "diabetic retinopathy": state({"microaneurysms", *BEYOND}),
        "referable diabetic retinopathy": state(BEYOND),
        "proliferative diabetic retinopathy": state(PROLIFERATIVE),
        "macular edema": state({"hard exudates"}, "macula"),
        "glaucoma": float(facts.glaucoma),
        "age-related macular degeneration": state(AGED) if facts.amd else 0.0,
    }
    for label in LESION_LABELS:
        states[label] = _state(item for item in facts.lesions if item.label == label)
    states["normal"] = float(not any(states.values()))
    return {name: states[name] for name in LABELS}
