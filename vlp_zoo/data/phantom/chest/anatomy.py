"""The normal frontal chest as outlines in body coordinates, one per patient.

x grows to the right of the image, so the patient's right side has small x. Helpers
think in ``u``, the distance from the midline, which is the same for both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlp_zoo.data.phantom.canvas import Field, Grid, Rng, spline
from vlp_zoo.reports.words.anatomy import REGIONS

__all__ = ["REGIONS", "SIDES", "Build", "Chest", "Shape", "region_outlines"]

SIDES = {"right": -1.0, "left": 1.0}
"""Side of the patient to direction of x."""


@dataclass(frozen=True, slots=True)
class Build:
    """The body of one patient: everything here is constant from study to study."""

    width: float
    apex: float
    dome: float
    dome_gap: float
    heart: float
    heart_tilt: float
    vessels: float
    knob: float
    mediastinum: float
    rib_slope: float
    rib_gap: float
    rib_strength: float
    spine_bend: float
    clavicle_rise: float
    breasts: float
    fat: float
    bubble: float
    seed: int

    @classmethod
    def draw(cls, rng: Rng, sex: str, age: int) -> Build:
        """A random body that fits sex and age."""
        female = sex == "F"
        return cls(
            width=float(rng.uniform(0.355, 0.395) - 0.008 * female),
            apex=float(rng.uniform(0.105, 0.135)),
            dome=float(rng.uniform(0.665, 0.74)),
            dome_gap=float(rng.uniform(0.008, 0.035)),
            heart=float(rng.normal(0.445, 0.03)),
            heart_tilt=float(rng.uniform(-0.3, 1.0)),
            vessels=float(rng.uniform(0.8, 1.2)),
            knob=float(rng.uniform(0.0, 1.0) * (0.5 + age / 180)),
            mediastinum=float(rng.uniform(0.88, 1.16)),
            rib_slope=float(rng.uniform(0.75, 1.25)),
            rib_gap=float(rng.uniform(0.055, 0.062)),
            rib_strength=float(rng.uniform(0.75, 1.15)),
            spine_bend=float(rng.normal(0, 0.012)),
            clavicle_rise=float(rng.uniform(-0.01, 0.035)),
            breasts=float(rng.uniform(0.4, 1.0)) if female else 0.0,
            fat=float(rng.uniform(0.0, 1.0)),
            bubble=float(rng.uniform(0.0, 1.0)),
            seed=int(rng.integers(2**31)),
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """What disease changes of the geometry.

    Attributes:
        heart: Cardiothoracic ratio.
        mediastinum: Factor on the width of the upper mediastinum.
        lift: Rise of each hemidiaphragm, by side.
    """

    heart: float
    mediastinum: float
    lift: tuple[tuple[str, float], ...] = ()


class Chest:
    """Outlines of one frontal chest.

    Args:
        build: The patient's body.
        shape: The disease's share of the geometry.

    Attributes:
        lungs: Side to closed outline (N, 2).
        heart: Closed outline.
        mediastinum: Closed outline.
        domes: Side to y of the diaphragm's highest point.
        hila: Side to point.
    """

    def __init__(self, build: Build, shape: Shape) -> None:
        self.build = build
        self.shape = shape
        lift = dict(shape.lift)
        self.domes = {
            "right": build.dome - lift.get("right", 0.0),
            "left": build.dome + build.dome_gap - lift.get("left", 0.0),
        }
        self.tips = {
            side: build.dome + 0.085 + (build.dome_gap if side == "left" else 0.0)
            for side in SIDES
        }
        self.hila = {
            "right": np.array([0.5 - 0.085, 0.405], np.float32),
            "left": np.array([0.5 + 0.09, 0.385], np.float32),
        }
        self.carina = np.array([0.495, 0.345], np.float32)
        self.lungs = {side: self._lung(side) for side in SIDES}
        self.heart = self._heart()
        self.mediastinum = self._mediastinum()

    def place(self, side: str, points: object) -> Field:
        """Points (u, y) to body coordinates on a side."""
        array = np.array(points, np.float32)
        array[:, 0] = 0.5 + SIDES[side] * array[:, 0]
        return array

    def wall(self, y: Grid | float) -> Field:
        """Distance of the inner chest wall from the midline at height y."""
        width, apex = self.build.width, self.build.apex
        heights = apex + np.array([0, 0.012, 0.04, 0.1, 0.22, 0.37, 0.52, 0.7])
        reach = np.array([0.36, 0.46, 0.58, 0.72, 0.87, 0.96, 1.0, 0.985]) * width
        return np.asarray(np.interp(y, heights, reach), np.float32)

    def _lung(self, side: str) -> Field:
        w, apex = self.build.width, self.build.apex
        dome, tip = self.domes[side], self.tips[side]
        inner = 0.03
        knots = [
            (0.30 * w, apex),
            (0.44 * w, apex + 0.010),
            (0.58 * w, apex + 0.04),
            (0.72 * w, apex + 0.1),
            (0.87 * w, apex + 0.22),
            (0.96 * w, apex + 0.37),
            (1.0 * w, apex + 0.52),
            (0.995 * w, tip - 0.04),
            (0.985 * w, tip),
            (0.975 * w, tip - 0.002),
            (0.90 * w, dome + 0.042),
            (0.72 * w, dome + 0.008),
            (0.52 * w, dome),
            (0.32 * w, dome + 0.012),
            (0.12 * w, dome + 0.05),
            (inner, dome + 0.03),
            (inner, 0.5),
            (inner, 0.3),
            (0.13 * w, apex + 0.06),
            (0.19 * w, apex + 0.015),
        ]
        return spline(self.place(side, knots), closed=True, steps=5)

    def _heart(self) -> Field:
        """Outline with the right atrial and the left ventricular curve."""
        total = 2 * self.build.width * self.shape.heart
        right, left = 0.31 * total, 0.69 * total
        base = self.domes["left"] + 0.035
        # A larger heart sits lower and reaches higher.
        grown = max(0.0, self.shape.heart - 0.45)
        tilt = self.build.heart_tilt
        top = 0.375 - 0.08 * grown
        apex_y = base - 0.055 + 0.012 * tilt
        knots = [
            (0.5 - 0.045, top),
            (0.5 - 0.06, top + 0.05),
            (0.5 - 0.80 * right, top + 0.13 - 0.1 * grown),
            (0.5 - right, 0.5 * (top + base) + 0.035),
            (0.5 - 0.97 * right, base - 0.1),
            (0.5 - 0.80 * right, base - 0.03),
            (0.5 - 0.3 * right, base + 0.03),
            (0.5 + 0.4 * left, base + 0.035),
            (0.5 + 0.82 * left, base + 0.01),
            (0.5 + 0.985 * left, apex_y),
            (0.5 + 0.95 * left, apex_y - 0.06),
            (0.5 + 0.80 * left, apex_y - 0.125 - 0.15 * grown),
            (0.5 + 0.56 * left, top + 0.10 - 0.15 * grown),
            (0.5 + 0.10 + 0.02 * grown, top + 0.045),
            (0.5 + 0.075, top),
        ]
        return spline(knots, closed=True, steps=6)

    def _mediastinum(self) -> Field:
        wide = self.shape.mediastinum * self.build.mediastinum
        knob = 0.066 + 0.022 * self.build.knob
        knots = [
            (0.5 - 0.045, 0.02),
            (0.5 - 0.042, 0.10),
            (0.5 - 0.048 * wide, 0.18),
            (0.5 - 0.053 * wide, 0.26),
            (0.5 - 0.055 * wide, 0.34),
            (0.5 - 0.06, 0.43),
            (0.5 + 0.08, 0.43),
            (0.5 + 0.062 * (0.6 + 0.4 * wide), 0.365),
            (0.5 + knob * (0.35 + 0.65 * wide), 0.322),
            (0.5 + knob * (0.3 + 0.7 * wide) * 1.01, 0.285),
            (0.5 + knob * (0.35 + 0.65 * wide) * 0.87, 0.255),
            (0.5 + 0.047 * wide, 0.21),
            (0.5 + 0.045 * (0.7 + 0.3 * wide), 0.15),
            (0.5 + 0.044, 0.08),
            (0.5 + 0.047, 0.02),
        ]
        return spline(knots, closed=True, steps=5)

    def ribs(self, side: str) -> tuple[list[Field], list[Field]]:
        """Posterior and anterior rib courses, from the first rib down."""
        build = self.build
        number = np.arange(10)
        y = build.apex + 0.012 + number * build.rib_gap
        drop = (0.055 + 0.012 * np.minimum(number, 6)) * build.rib_slope
        w = self.wall(y + drop) + 0.006
        arch = np.where(number > 1, 0.010, 0.022)
        start = y + 1.12 * drop
        fall = (0.035 + 0.013 * number) * build.rib_slope
        end = np.maximum(0.125, (0.42 + 0.03 * number) * w)
        rear = [
            (0.028 + 0 * w, y),
            (0.075 + 0 * w, y - arch),
            (0.45 * w, y - arch + 0.06 * drop),
            (0.72 * w, y + 0.32 * drop),
            (0.92 * w, y + 0.72 * drop),
            (1.0 * w, start),
        ]
        fore = [
            (1.0 * w, start),
            (0.985 * w, start + 0.25 * fall),
            (0.86 * w, start + 0.8 * fall),
            (0.5 * (0.86 * w + end), start + 1.25 * fall),
            (end, start + 1.5 * fall),
        ]
        courses = []
        for knots in (rear, fore):
            array = np.transpose(np.array(knots, np.float32), (2, 0, 1))
            array[..., 0] = 0.5 + SIDES[side] * array[..., 0]
            courses.append(list(spline(array, steps=6)))
        return courses[0], courses[1][:7]

    def clavicle(self, side: str) -> Field:
        """The S-shaped axis of a clavicle, medial end first."""
        y = self.build.apex + 0.075
        rise = self.build.clavicle_rise
        knots = [
            (0.033, y + 0.012),
            (0.09, y + 0.004),
            (0.17, y - 0.02 - 0.4 * rise),
            (0.26, y - 0.035 - rise),
            (0.34, y - 0.03 - 1.5 * rise),
            (0.40, y - 0.045 - 1.6 * rise),
        ]
        return spline(self.place(side, knots))

    def midline(self, y: Field) -> Field:
        """X of the spine at height y."""
        bend = self.build.spine_bend * np.sin((y - 0.1) * 4.2)
        return np.asarray(0.5 + bend, np.float32)

    def zone(self, side: str, name: str) -> tuple[float, float]:
        """Top and bottom y of a lung zone."""
        top, bottom = self.build.apex, self.domes[side] + 0.03
        third = (bottom - top) / 3
        spans = {
            "apical": (top, top + 0.42 * third),
            "upper": (top, top + third),
            "mid": (top + third, top + 2 * third),
            "lower": (top + 2 * third, bottom + 0.05),
        }
        return spans[name]


TURN = np.linspace(0, 2 * np.pi, 24, endpoint=False)
CIRCLE = np.stack([np.cos(TURN), np.sin(TURN)], 1).astype(np.float32)


def _oval(x1: float, y1: float, x2: float, y2: float) -> Field:
    """The ellipse in a rectangle: a place without an outline of its own."""
    middle = np.array([0.5 * (x1 + x2), 0.5 * (y1 + y2)], np.float32)
    reach = np.array([0.5 * (x2 - x1), 0.5 * (y2 - y1)], np.float32)
    return middle + reach * CIRCLE


def _part(chest: Chest, side: str, zone: str) -> Field:
    outline = chest.lungs[side]
    top, bottom = chest.zone(side, zone)
    inside = (outline[:, 1] >= top - 0.02) & (outline[:, 1] <= bottom + 0.02)
    part = np.clip(outline[:, 1], top, bottom)
    return np.stack([outline[:, 0], part], 1)[inside]


def region_outlines(chest: Chest) -> dict[str, Field]:
    """The 29 locations as outlines (N, 2) in body coordinates, keyed by `REGIONS`.

    A box in pixels is the bounds of the outline after the exposure's affine map.
    """
    places: dict[str, Field] = {}
    for side, sign in SIDES.items():
        outline = chest.lungs[side]
        places[f"{side} lung"] = outline
        for zone in ("upper", "mid", "lower"):
            places[f"{side} {zone} lung zone"] = _part(chest, side, zone)
        hx, hy = (float(v) for v in chest.hila[side])
        near, far = sorted((hx - 0.045 * sign, hx + 0.06 * sign))
        places[f"{side} hilar structures"] = _oval(near, hy - 0.075, far, hy + 0.095)
        places[f"{side} apical zone"] = _part(chest, side, "apical")
        tip = chest.tips[side]
        edge = 0.5 + sign * chest.build.width
        near, far = sorted((edge, edge - sign * 0.11))
        places[f"{side} costophrenic angle"] = _oval(near, tip - 0.09, far, tip + 0.02)
        low = outline[outline[:, 1] > chest.domes[side] - 0.012]
        places[f"{side} hemidiaphragm"] = low
        places[f"{side} clavicle"] = chest.clavicle(side)
    hy2 = float(chest.heart[:, 1].max())
    upper = chest.mediastinum[
        (chest.mediastinum[:, 1] > 0.1) & (chest.mediastinum[:, 1] < 0.36)
    ]
    mx1 = float(upper[:, 0].min())
    knob = float(upper[:, 0].max())
    cx, cy = (float(v) for v in chest.carina)
    low_y = max(chest.domes.values()) + 0.02
    atrium = float(chest.heart[:, 0].min())
    width = chest.build.width
    middle = chest.mediastinum[chest.mediastinum[:, 1] > 0.1]
    return places | {
        "trachea": _oval(cx - 0.022, 0.03, cx + 0.026, cy),
        "spine": _oval(0.45, 0.02, 0.55, 0.98),
        "aortic arch": _oval(0.485, 0.24, knob + 0.004, 0.35),
        "mediastinum": np.concatenate([middle, chest.heart]),
        "upper mediastinum": upper,
        "svc": _oval(mx1 - 0.002, 0.2, 0.48, 0.43),
        "cardiac silhouette": chest.heart,
        "cavoatrial junction": _oval(0.415, 0.395, 0.485, 0.475),
        "right atrium": _oval(atrium, 0.43, 0.49, hy2 - 0.04),
        "carina": _oval(cx - 0.035, cy - 0.02, cx + 0.035, cy + 0.035),
        "abdomen": _oval(0.5 - width, low_y, 0.5 + width, 0.995),
    }
