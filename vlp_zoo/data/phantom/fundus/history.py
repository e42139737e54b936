"""Why patients come, what their eyes have, and how it goes on from visit to visit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlp_zoo.data.phantom.canvas import Rng
from vlp_zoo.data.phantom.fundus.facts import EYES, KINDS, QUADRANTS, EyeFacts, Lesion

__all__ = ["SCENARIOS", "draw_history"]

SCENARIOS: dict[str, tuple[float, dict[str, float]]] = {
    "routine": (0.26, {}),
    "diabetes": (0.46, {"diabetes": 0.78, "glaucoma": 0.06, "amd": 0.04}),
    "glaucoma clinic": (0.14, {"glaucoma": 0.85, "amd": 0.05, "diabetes": 0.04}),
    "loss of vision": (0.14, {"amd": 0.85, "glaucoma": 0.06, "diabetes": 0.08}),
}
"""Why the patient comes: share of patients, and how often each disease follows."""

GRADES = (0.28, 0.36, 0.18, 0.18)
"""Shares of grades 1 to 4 among those with retinopathy."""

STAGES = ("early", "intermediate", "late")

DOUBT = 0.09
"""Share of kinds of lesion that are faint and that the report hedges about."""

AMOUNTS = {
    "microaneurysms": ((0.05, 0.45), (0.3, 0.75), (0.5, 1.0), (0.4, 0.95)),
    "blot hemorrhages": ((0, 0), (0.12, 0.55), (0.62, 1.0), (0.3, 0.9)),
    "flame hemorrhages": ((0, 0), (0.1, 0.5), (0.3, 0.9), (0.2, 0.8)),
    "hard exudates": ((0, 0), (0.1, 0.85), (0.2, 1.0), (0.2, 1.0)),
    "cotton wool spots": ((0, 0), (0.1, 0.5), (0.3, 0.9), (0.2, 0.8)),
}
"""Lowest and highest amount in grades 1 to 4."""

CHANCES = {
    "microaneurysms": (1.0, 1.0, 1.0, 0.9),
    "blot hemorrhages": (0.0, 0.85, 1.0, 0.8),
    "flame hemorrhages": (0.0, 0.25, 0.5, 0.4),
    "hard exudates": (0.0, 0.4, 0.35, 0.35),
    "cotton wool spots": (0.0, 0.25, 0.55, 0.4),
}
"""How often grades 1 to 4 bring each."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one eye makes of one kind of lesion; the same at every visit."""

    roll: float
    extent: float
    doubt: bool
    order: tuple[str, ...]
    seed: int


@dataclass
class _Course:
    """The diseases of one eye at one visit."""

    grade: int
    edema: bool
    laser: bool
    drift: float
    glaucoma: int
    cup: float
    notch: str
    bleeding_disc: bool
    amd: str
    wet: bool
    spots: bool


def _plans(seed: int, patient: int, eye: int) -> dict[str, _Plan]:
    plans = {}
    for place, kind in enumerate(KINDS):
        rng = np.random.default_rng((seed, 203, patient, eye, place))
        order = rng.permutation(len(QUADRANTS))
        plans[kind] = _Plan(
            roll=float(rng.random()),
            extent=float(rng.beta(1.5, 1.5)),
            doubt=bool(rng.random() < DOUBT),
            order=tuple(QUADRANTS[number] for number in order),
            seed=int(rng.integers(2**31)),
        )
    return plans


def _chosen(rng: Rng, shares: Sequence[float]) -> int:
    return int(np.searchsorted(np.cumsum(shares), rng.random() * sum(shares)))


def _begin(rng: Rng, disease: dict[str, int], cup: float) -> _Course:
    """An eye at the first visit, near to what the patient has in both."""
    grade = disease["diabetes"]
    if grade and rng.random() < 0.3:
        grade = int(np.clip(grade + rng.choice((-1, 1)), 0, 4))
    ill = disease["glaucoma"] if rng.random() < 0.75 else 0
    # One in five who is sent for glaucoma is only suspected to have it.
    glaucoma = (-1 if rng.random() < 0.2 else 1) if ill else 0
    if glaucoma == 1:
        cup = float(rng.uniform(0.66, 0.9))
    elif glaucoma == -1:
        cup = float(rng.uniform(0.56, 0.65))
    else:
        cup = float(np.clip(cup + rng.normal(0, 0.03), 0.18, 0.52))
    stage = disease["amd"]
    if stage and rng.random() < 0.35:
        stage = int(np.clip(stage + rng.choice((-1, 1)), 0, 3))
    notch = ""
    if glaucoma == 1 and rng.random() < 0.55:
        notch = "inferior" if rng.random() < 0.65 else "superior"
    return _Course(
        grade=grade,
        edema=grade >= 2 and bool(rng.random() < 0.45),
        laser=grade >= 3 and bool(rng.random() < (0.1, 0.32)[grade - 3]),
        drift=0.0,
        glaucoma=glaucoma,
        cup=cup,
        notch=notch,
        bleeding_disc=glaucoma == 1 and bool(rng.random() < 0.2),
        amd=STAGES[stage - 1] if stage else "",
        wet=bool(rng.random() < 0.4),
        spots=bool(rng.random() < 0.03),
    )


def _progress(rng: Rng, course: _Course) -> _Course:
    """The same eye about a year later."""
    grade, roll = course.grade, rng.random()
    if course.grade:
        grade += 1 if roll < 0.25 else (-1 if roll > 0.88 else 0)
        grade = int(np.clip(grade, 1, 4))
    edema = course.edema if rng.random() < 0.7 else not course.edema
    treated = grade >= 3 and bool(rng.random() < 0.25)
    stage = course.amd
    if stage and stage != "late" and rng.random() < 0.2:
        stage = STAGES[STAGES.index(stage) + 1]
    cup = course.cup
    if course.glaucoma == 1 and rng.random() < 0.3:
        cup = min(0.92, cup + float(rng.uniform(0.03, 0.08)))
    return replace(
        course,
        grade=grade,
        edema=edema and grade >= 2,
        laser=course.laser or treated,
        drift=float(np.clip(course.drift + rng.normal(0, 0.16), -0.4, 0.4)),
        cup=cup,
        bleeding_disc=course.glaucoma == 1 and bool(rng.random() < 0.15),
        amd=stage,
    )


def _spread(grade: int, plan: _Plan) -> tuple[str, ...]:
    """The quadrants that a kind of lesion takes at a grade of retinopathy."""
    if grade == 1:
        return plan.order[: 1 + (plan.roll > 0.6)]
    if grade == 2:
        return plan.order[: 1 + int(3 * plan.roll)]
    return QUADRANTS


def _diabetic(course: _Course, plans: dict[str, _Plan]) -> list[Lesion]:
    if not course.grade:
        return []
    found = []

    def add(kind: str, places: tuple[str, ...], amount: float) -> None:
        plan = plans[kind]
        found.append(Lesion(kind, places, amount, not plan.doubt, "", plan.seed))

    step = course.grade - 1
    for kind, chances in CHANCES.items():
        plan = plans[kind]
        there = plan.roll < chances[step]
        exuding = kind == "hard exudates" and course.edema
        if kind == "hard exudates" and course.grade == 2:
            # Grade 2 has to show more than microaneurysms.
            there = there or len(found) == 1
        if not there and not exuding:
            continue
        low, high = AMOUNTS[kind][step]
        amount = low + (high - low) * plan.extent + course.drift * (high - low)
        places = _spread(course.grade, plan)
        if kind == "microaneurysms" and plan.extent > 0.5:
            places = (*places, "macula")
        elif kind == "hard exudates":
            places = ("macula",) if exuding else plan.order[: 1 + (amount > 0.5)]
        elif kind in ("flame hemorrhages", "cotton wool spots"):
            places = plan.order[: 1 + int(2.9 * amount)]
        add(kind, places, float(np.clip(amount, low or 0.05, min(1.0, high + 0.1))))
    if course.grade == 4:
        bleeding = plans["preretinal hemorrhage"]
        at_disc = plans["disc neovascularization"]
        elsewhere = plans["peripheral neovascularization"]
        bleeds = bleeding.roll < 0.42
        if at_disc.roll < 0.45:
            add("disc neovascularization", ("optic disc",), at_disc.extent)
        if elsewhere.roll < 0.6 or (at_disc.roll >= 0.45 and not bleeds):
            places = elsewhere.order[: 1 + (elsewhere.extent > 0.6)]
            add("peripheral neovascularization", places, elsewhere.extent)
        if bleeds:
            below = "inferonasal" if bleeding.roll < 0.2 else "inferotemporal"
            add("preretinal hemorrhage", (below,), bleeding.extent)
    return found


def _lesions(course: _Course, plans: dict[str, _Plan]) -> tuple[Lesion, ...]:
    found = _diabetic(course, plans)

    def add(kind: str, places: tuple[str, ...], amount: float, sure: bool) -> None:
        amount = float(np.clip(amount, 0.05, 1.0))
        found.append(Lesion(kind, places, amount, sure, "", plans[kind].seed))

    if course.laser:
        add("laser scars", QUADRANTS, plans["laser scars"].extent, True)
    if course.bleeding_disc:
        bleed = plans["disc hemorrhage"]
        add("disc hemorrhage", ("optic disc",), bleed.extent, not bleed.doubt)
    drusen = plans["drusen"]
    if course.amd:
        low, high = {"early": (0.1, 0.4), "intermediate": (0.45, 1.0)}.get(
            course.amd, (0.3, 0.9)
        )
        dry = course.amd == "late" and not course.wet
        if course.amd != "late" or drusen.roll < 0.75:
            amount = low + (high - low) * drusen.extent + 0.1 * course.drift
            doubtful = course.amd == "early" and drusen.roll < 0.25
            add("drusen", ("macula",), amount, not doubtful)
        if dry:
            atrophy = plans["geographic atrophy"]
            amount = atrophy.extent + max(0.0, course.drift)
            add("geographic atrophy", ("macula",), amount, not atrophy.doubt)
        elif course.amd == "late":
            bleed = plans["subretinal hemorrhage"]
            add("subretinal hemorrhage", ("macula",), bleed.extent, not bleed.doubt)
    elif course.spots:
        # A few hard drusen away from the macula are age, not disease.
        add("drusen", drusen.order[:1], 0.3 * drusen.extent, True)
    order = list(KINDS)
    found.sort(key=lambda lesion: order.index(lesion.kind))
    return tuple(found)


def _compared(
    now: tuple[Lesion, ...], before: tuple[Lesion, ...]
) -> tuple[tuple[Lesion, ...], tuple[str, ...]]:
    """Lesions with their change, and the kinds that are gone."""
    prior = {lesion.kind: lesion for lesion in before}
    changed = []
    for lesion in now:
        old = prior.get(lesion.kind)
        if old is None:
            changed.append(replace(lesion, change="new"))
            continue
        growth = lesion.amount - old.amount
        word = "unchanged"
        if abs(growth) > 0.08:
            word = "increased" if growth > 0 else "decreased"
        changed.append(replace(lesion, change=word))
    kinds = {lesion.kind for lesion in now}
    return tuple(changed), tuple(kind for kind in prior if kind not in kinds)


def draw_history(seed: int, patient: int, visits: int) -> list[dict[str, EyeFacts]]:
    """The visits of one patient in order of time, each with both eyes.

    Args:
        seed: Seed of the phantom world.
        patient: Index in the world.
        visits: How many; a longer history starts the same.
    """
    rng = np.random.default_rng((seed, 201, patient))
    names = list(SCENARIOS)
    scenario = names[_chosen(rng, [SCENARIOS[name][0] for name in names])]
    mean = {"routine": 45, "loss of vision": 75}.get(scenario, 60)
    age = int(np.clip(rng.normal(mean, 12), 18, 93))
    sex = "F" if rng.random() < 0.5 else "M"
    chances = SCENARIOS[scenario][1]
    rolls = rng.random(3)
    disease = {
        "diabetes": 1 + _chosen(rng, GRADES),
        "glaucoma": 1,
        "amd": 1 + _chosen(rng, (0.25, 0.45, 0.3)),
    }
    for roll, name in zip(rolls, disease, strict=True):
        if roll >= chances.get(name, 0.0):
            disease[name] = 0
    cup = float(rng.uniform(0.2, 0.5))
    history: list[dict[str, EyeFacts]] = [{} for _ in range(visits)]
    for place, eye in enumerate(EYES):
        rng = np.random.default_rng((seed, 202, patient, place))
        plans = _plans(seed, patient, place)
        course = _begin(rng, disease, cup)
        before: EyeFacts | None = None
        for number in range(visits):
            if before is not None:
                course = _progress(rng, course)
            lesions, change = _lesions(course, plans), ""
            resolved: tuple[str, ...] = ()
            if before is not None:
                lesions, resolved = _compared(lesions, before.lesions)
                if before.dr_grade:
                    step = course.grade - before.dr_grade
                    change = ("regressed", "unchanged", "progressed")[step + 1]
            before = EyeFacts(
                patient=patient,
                number=number,
                eye=eye,
                age=age + number,
                sex=sex,
                scenario=scenario,
                dr_grade=course.grade,
                cup=round(course.cup, 2),
                notch=course.notch,
                glaucoma=course.glaucoma,
                amd=course.amd,
                beading=course.grade == 3 and plans["blot hemorrhages"].roll < 0.5,
                lesions=lesions,
                resolved=resolved,
                change=change,
            )
            history[number][eye] = before
    return history
