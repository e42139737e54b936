"""Shape of a phantom eye: disc, cup, fovea and the two trees of vessels.

Coordinates are disc diameters (about 1.8 mm) from the fovea, x towards the nose and y
down, so that a left eye is a right one mirrored. A photograph of the right eye shows
the disc on its right-hand side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlp_zoo.data.phantom.canvas import Field, Rng, spline
from vlp_zoo.data.phantom.fundus.facts import QUADRANTS, EyeFacts

__all__ = [
    "FIELD_MIDDLE",
    "FIELD_REACH",
    "REGIONS",
    "Branch",
    "EyeBuild",
    "cup_outline",
    "disc_outline",
    "region_outlines",
    "turned",
    "vessel_tree",
]

REGIONS: tuple[str, ...] = (
    "optic disc",
    "macula",
    *(f"{name} quadrant" for name in QUADRANTS),
    "superotemporal arcade",
    "inferotemporal arcade",
)
"""The places that have boxes."""

FIELD_MIDDLE = (0.6, -0.05)
"""Every photograph shows what lies within `FIELD_REACH` of this point."""

FIELD_REACH = 2.35

FREE_ZONE = 0.33
"""Radius about the fovea that vessels keep out of."""

TURN = np.linspace(0, 2 * np.pi, 40, endpoint=False)
CIRCLE = np.stack([np.cos(TURN), np.sin(TURN)], 1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class EyeBuild:
    """What makes one eye look other than the next; no disease in it."""

    disc: tuple[float, float]
    disc_size: tuple[float, float]
    disc_tilt: float
    disc_light: float
    cup_shift: float
    pigment: float
    tessellation: float
    macula: float
    reflex: float
    crescent: float
    vessel_width: float
    arcade: float
    tortuosity: float
    seed: int

    @classmethod
    def draw(cls, both: Rng, own: Rng) -> EyeBuild:
        """A random eye.

        Args:
            both: What the two eyes of a patient share: colour, size, calibre.
            own: What each has for itself: the course of the vessels.
        """
        x, y = both.uniform(2.45, 2.75), both.uniform(-0.42, -0.12)
        wide = both.uniform(0.86, 0.98)
        return cls(
            disc=(float(x + own.normal(0, 0.03)), float(y + own.normal(0, 0.03))),
            disc_size=(float(wide), float(wide * both.uniform(1.04, 1.16))),
            disc_tilt=float(own.normal(0, 0.12)),
            disc_light=float(both.uniform(0.55, 1.0)),
            cup_shift=float(own.uniform(-0.05, 0.01)),
            pigment=float(both.uniform(0, 1)),
            tessellation=float(both.beta(1.2, 2.2)),
            macula=float(both.uniform(0.7, 1.2)),
            reflex=float(max(0.0, both.uniform(-0.5, 1.0))),
            crescent=float(max(0.0, own.uniform(-1.5, 1.0))),
            vessel_width=float(both.uniform(0.88, 1.14)),
            arcade=float(both.uniform(1.8, 2.25)),
            tortuosity=float(both.uniform(0.4, 1.5)),
            seed=int(own.integers(2**31)),
        )


@dataclass(frozen=True, slots=True)
class Branch:
    """Vessels of one calibre.

    Attributes:
        lines: (N, P, 2) courses, from the disc outwards.
        widths: (N, 2) width at the start and at the end.
    """

    lines: Field
    widths: Field


def turned(points: npt.ArrayLike, angle: float) -> Field:
    """Points (..., 2) turned about the origin by an angle in radians."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, s], [-s, c]], np.float32)
    return np.asarray(np.asarray(points, np.float32) @ turn, np.float32)


def disc_outline(build: EyeBuild, grow: float = 1.0) -> Field:
    """Margin of the optic disc, (40, 2)."""
    radii = 0.5 * grow * np.array(build.disc_size, np.float32)
    return turned(CIRCLE * radii, build.disc_tilt) + np.array(build.disc, np.float32)


def cup_outline(build: EyeBuild, facts: EyeFacts) -> Field:
    """Margin of the cup, (40, 2); a notch takes it near to the disc's margin."""
    wide, high = build.disc_size
    radii = 0.5 * facts.cup * np.array([wide * 0.96, high], np.float32)
    outline = CIRCLE * radii
    if facts.notch:
        below = outline[:, 1] > 0 if facts.notch == "inferior" else outline[:, 1] < 0
        near = np.exp(-((outline[:, 0] / (0.14 * wide)) ** 2)) * below
        room = max(0.0, 0.47 * high - radii[1])
        outline[:, 1] += np.sign(outline[:, 1]) * room * near
    outline[:, 0] += build.cup_shift * wide * (1 - facts.cup)
    return turned(outline, build.disc_tilt) + np.array(build.disc, np.float32)


def _trunks(build: EyeBuild, rng: Rng, shift: float) -> Field:
    """The four vessels that leave the disc, (4, 49, 2): temporal ones first.

    Args:
        build: The eye.
        rng: For their course.
        shift: Sets veins beside arteries.
    """
    dx, dy = build.disc
    high = build.arcade * (1 + shift)
    knots = []
    for sign in (-1.0, 1.0):
        leave = (dx + 0.10 + rng.normal(0, 0.03), dy + 0.06 * sign)
        knots.append(
            [
                leave,
                (dx + 0.05 - shift, dy + 0.42 * sign),
                (dx - 0.5 - shift, dy + (0.42 * high + 0.35) * sign),
                (dx - 1.5, 0.93 * high * sign),
                (-0.2, 1.02 * high * sign),
                (-1.7, 0.80 * high * sign),
                (-3.3, 0.40 * high * sign + 0.5 * sign),
            ]
        )
    for sign in (-1.0, 1.0):
        leave = (dx + 0.12 + rng.normal(0, 0.03), dy + 0.05 * sign)
        knots.append(
            [
                leave,
                (dx + 0.2 + shift, dy + 0.4 * sign),
                (dx + 0.5 + shift, dy + 0.9 * sign),
                (dx + 0.85, dy + 1.4 * sign),
                (dx + 1.2, dy + 1.9 * sign),
                (dx + 1.5, dy + 2.5 * sign),
                (dx + 1.8, dy + 3.2 * sign),
            ]
        )
    points = np.array(knots, np.float32)
    loose = np.array([0, 0.02, 0.06, 0.09, 0.12, 0.15, 0.2], np.float32)
    points += rng.normal(0, 1, points.shape).astype(np.float32) * loose[:, None]
    return spline(points)


def _children(
    parents: Branch, count: int, length: float, rng: Rng, wind: float
) -> Branch:
    """Side branches that leave at an angle and bend into their parent's direction."""
    lines = parents.lines
    number, points = lines.shape[:2]
    where = (np.arange(count) + rng.uniform(0.35, 1.0, (number, count))) / count
    step = np.clip((where * (points - 2)).astype(int), 1, points - 2)
    rows = np.arange(number)[:, None]
    start = lines[rows, step]
    along = lines[rows, step + 1] - lines[rows, step - 1]
    heading = np.arctan2(along[..., 1], along[..., 0])
    side = np.where((np.arange(count) + rng.integers(0, 2, (number, 1))) % 2, 1.0, -1.0)
    angle = side * rng.uniform(0.4, 0.95, (number, count))
    reach = length * rng.uniform(0.6, 1.3, (number, count)) * (1 - 0.45 * where)
    first = np.stack([np.cos(heading + angle), np.sin(heading + angle)], -1)
    bent = heading + angle * rng.uniform(-0.3, 0.8, (number, count))
    last = np.stack([np.cos(bent), np.sin(bent)], -1)
    t = np.linspace(0, 1, 9)[:, None]
    course = (
        start[..., None, :]
        + reach[..., None, None] * (t - 0.5 * t**2) * first[..., None, :]
        + reach[..., None, None] * 0.5 * t**2 * last[..., None, :]
    )
    across = np.stack([-first[..., 1], first[..., 0]], -1)[..., None, :]
    phase = rng.uniform(0, 2 * np.pi, (number, count, 1, 1))
    wave = np.sin(t * rng.uniform(5, 9, (number, count, 1, 1)) + phase) - np.sin(phase)
    course += 0.045 * wind * reach[..., None, None] * wave * t * across
    own = parents.widths[:, :1] * (1 - where) + parents.widths[:, 1:] * where
    width = own * rng.uniform(0.48, 0.75, own.shape)
    widths = np.stack([width, 0.45 * width], -1)
    return Branch(
        course.reshape(-1, 9, 2).astype(np.float32),
        widths.reshape(-1, 2).astype(np.float32),
    )


def _spared(branch: Branch) -> Branch:
    """The same with the fovea left free: points are pushed away from it."""
    distance = np.hypot(branch.lines[..., 0], branch.lines[..., 1])[..., None]
    out = np.sqrt(distance**2 + FREE_ZONE**2) / np.maximum(distance, 1e-3)
    return Branch(branch.lines * out.astype(np.float32), branch.widths)


def vessel_tree(build: EyeBuild, vein: bool) -> list[Branch]:
    """Arteries or veins of an eye, trunks first, then three orders of branches."""
    rng = np.random.default_rng((build.seed, int(vein)))
    width = build.vessel_width * (0.078 if vein else 0.058)
    shift = rng.uniform(0.02, 0.07) * (1 if vein else -1)
    trunks = _trunks(build, rng, float(shift))
    calibre = width * np.array([1.0, 1.0, 0.72, 0.72]) * rng.uniform(0.9, 1.1, 4)
    main = Branch(trunks, np.stack([calibre, 0.42 * calibre], 1).astype(np.float32))
    dx, dy = build.disc
    # Small vessels run straight from the disc to the macula.
    leave = np.stack([np.full(3, dx - 0.1), dy + np.array([-0.16, 0.04, 0.2])], 1)
    end = np.stack([rng.uniform(0.5, 1.1, 3), np.array([-0.5, 0.1, 0.55])], 1)
    bow = np.array([[0, -0.16], [0, 0.05], [0, 0.16]])
    t = np.linspace(0, 1, 17)[:, None]
    way = leave[:, None] + t * (end - leave)[:, None]
    way = way + 4 * t * (1 - t) * bow[:, None] + rng.normal(0, 0.01, way.shape)
    fine = Branch(way.astype(np.float32), np.tile([0.3 * width, 0.12 * width], (3, 1)))
    first = _children(main, 6, 2.3, rng, build.tortuosity)
    second = _children(first, 3, 1.15, rng, build.tortuosity)
    third = _children(second, 2, 0.55, rng, build.tortuosity)
    return [_spared(branch) for branch in (main, fine, first, second, third)]


def _quadrant(name: str) -> Field:
    x, y = FIELD_MIDDLE
    outer = FIELD_REACH + 0.25
    across = (0.0, x + outer) if name.endswith("nasal") else (x - outer, 0.0)
    down = (y - outer, 0.0) if name.startswith("supero") else (0.0, y + outer)
    return np.array([(a, b) for a in across for b in down], np.float32)


def region_outlines(build: EyeBuild) -> dict[str, Field]:
    """The places of `REGIONS` as outlines or corners (N, 2)."""
    dx, dy = build.disc
    places = {
        "optic disc": disc_outline(build),
        "macula": CIRCLE,
    }
    for name in QUADRANTS:
        places[f"{name} quadrant"] = _quadrant(name)
    for name, sign in (("supero", -1.0), ("infero", 1.0)):
        ends = [(dx, dy + 0.5 * sign), (-1.7, (build.arcade + 0.25) * sign)]
        places[f"{name}temporal arcade"] = np.array(ends, np.float32)
    return places
