"""One painter for each kind of lesion: what it does to light, and its mask."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vlp_zoo.data.phantom.canvas import Field, Mask, Rng, smooth, spline
from vlp_zoo.data.phantom.fundus.anatomy import FIELD_MIDDLE, FIELD_REACH
from vlp_zoo.data.phantom.fundus.facts import QUADRANTS, Lesion
from vlp_zoo.data.phantom.fundus.retina import Scene, blobs, cover

__all__ = ["PAINTERS", "paint"]

Painter = Callable[[Scene, Lesion, str, Rng], Mask]

FAINT = 0.42
"""Strength of lesions about which the report hedges."""

CANDIDATES = 400


def _strength(lesion: Lesion) -> float:
    return 1.0 if lesion.certain else FAINT


def _positions(
    scene: Scene,
    rng: Rng,
    place: str,
    count: int,
    fovea: float,
    disc: float = 0.68,
    reach: float = FIELD_REACH,
) -> Field:
    """Points in a quadrant, (count, 2): more of them begin with the fewer.

    Args:
        scene: Where the disc is.
        rng: Generator of the points.
        place: One of `QUADRANTS`.
        count: How many.
        fovea: Least distance from the fovea.
        disc: Least distance from the middle of the disc.
        reach: Most distance from the middle of the field.
    """
    x, y = FIELD_MIDDLE
    across = (0.04, x + reach) if place.endswith("nasal") else (x - reach, -0.04)
    down = (0.04, y + reach) if place.startswith("infero") else (y - reach, -0.04)
    low, high = np.array([across, down]).T
    points = rng.uniform(low, high, (CANDIDATES, 2))
    inside = np.hypot(points[:, 0] - x, points[:, 1] - y) < reach
    inside &= np.hypot(points[:, 0], points[:, 1]) > fovea
    away = points - np.array(scene.build.disc)
    inside &= np.hypot(away[:, 0], away[:, 1]) > disc
    return np.asarray(points[inside][:count], np.float32)


def _central(rng: Rng, count: int, low: float, high: float) -> Field:
    """Points about the fovea between two distances, (count, 2)."""
    draws = rng.uniform(0, 1, (CANDIDATES, 2))[:count]
    radius = np.sqrt(low**2 + (high**2 - low**2) * draws[:, 0])
    angle = 2 * np.pi * draws[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(
        np.float32
    )


def _sizes(rng: Rng, count: int, low: float, high: float) -> Field:
    return rng.uniform(low, high, CANDIDATES)[:count].astype(np.float32)


def _bleed(scene: Scene, field: Field, depth: float) -> None:
    np.maximum(scene.blood, field * np.float32(depth), out=scene.blood)


def microaneurysms(scene: Scene, lesion: Lesion, place: str, rng: Rng) -> Mask:
    """Red dots of a pixel or two."""
    count = 2 + int(7 * lesion.amount)
    if place == "macula":
        points = _central(rng, count, 0.3, 1.0)
    else:
        points = _positions(scene, rng, place, count, 0.45)
    field, mask = blobs(scene.canvas, points, _sizes(rng, len(points), 0.026, 0.042))
    _bleed(scene, field, 0.8 * _strength(lesion))
    return mask


def blots(scene: Scene, lesion: Lesion, place: str, rng: Rng) -> Mask:
    """Dot and blot hemorrhages: round, ragged, within the retina."""
    count = 2 + int(18 * lesion.amount**2)
    points = _positions(scene, rng, place, count, 0.5)
    sizes = 0.04 + 0.10 * _sizes(rng, len(points), 0, 1) ** 2
    sizes[0] = max(sizes[0], 0.07)
    field, mask = blobs(scene.canvas, points, sizes, None, 0.45, rng)
    _bleed(scene, smooth(field, 0.012 * scene.canvas.scale), 0.75 * _strength(lesion))
    return mask


def flames(scene: Scene, lesion: Lesion, place: str, rng: Rng) -> Mask:
    """Hemorrhages among nerve fibres, drawn out along them."""
    count = 1 + int(3 * lesion.amount)
    points = _positions(scene, rng, place, count, 0.7, 0.75)
    away = points - np.array(scene.build.disc, np.float32)
    angle = np.arctan2(away[:, 1], away[:, 0]) + rng.normal(0, 0.15, len(points))
    long = _sizes(rng, len(points), 0.13, 0.26)
    half = np.stack([long, 0.24 * long], 1)
    field, mask = blobs(scene.canvas, points, half, angle, 0.35, rng)
    _bleed(scene, field, 0.7 * _strength(lesion))
    return mask


def disc_bleed(scene: Scene, lesion: Lesion, place: str, rng: Rng) -> Mask:
    """A splinter across the margin of the disc."""
    build = scene.build
    below = -1.0 if scene.facts.notch == "superior" else 1.0
    angle = np.pi / 2 * below + float(rng.uniform(0.15, 0.6)) * below
    out = np.array([np.cos(angle), np.sin(angle)])
    centre = np.array(build.disc) + 0.52 * np.array(build.disc_size) * out
    half = np.array([[0.15 + 0.08 * lesion.amount, 0.042]])
    field, mask = blobs(
        scene.canvas, centre[None], half, np.array([angle + 0.3]), 0.25, rng
    )
    _bleed(scene, field, 0.85 * _strength(lesion))
    return mask


def subretinal(scene: Scene, lesion: Lesion, place: str, rng: Rng) -> Mask:
    """Dark blood under the macula beside a grey membrane, as of wet degeneration."""
    canvas = scene.canvas
    middle = rng.normal(0, 0.15, 2)
    centres = middle + rng.normal(0, 0.25, (3, 2))
    sizes = (0.22 + 0.3 * lesion.amount) * rng.uniform(0.7, 1.1, 3)
    field, mask = blobs(canvas, centres, sizes, None, 0.45, rng)
    membrane, _ = blobs(canvas, middle[None], np.array([0.3]), None, 0.3, rng)
    strength = _strength(lesion)
    grey = smooth(membrane, 0.05 * canvas.scale)
    cover(scene.light, 0.4 * strength * grey, (0.66, 0.48, 0.30))
    _bleed(scene, smooth(field, 0.03 * canvas.scale), 0.55 * strength)
    return mask


def exudates(scene: Scene, lesion: Lesion, place: str, rng: Rng) -> Mask:
    """Yellow, sharp and bright, in rings and clumps; in the macula they mean edema."""
    canvas = scene.canvas
    if place == "macula":
        count = 8 + int(45 * lesion.amount)
        turn = rng.uniform(0, 2 * np.pi)
        middle = 0.5 * np.array([np.cos(turn), np.sin(turn)])
        ring = rng.uniform(0.28, 0.42)
        angle = turn + rng.uniform(-2.4, 2.4, CANDIDATES)[:count]
        width = rng.normal(0, 0.07, (CANDIDATES, 2))[:count]
        points = middle + ring * np.stack([np.cos(angle), np.sin(angle)], 1) + width
        away = np.hypot(points[:, 0], points[:, 1])[:, None]
        points = points * np.minimum(1.0, 0.94 / np.maximum(away, 1e-3))
    else:
        heads = _positions(scene, rng, place, 2, 1.3, 0.9, FIELD_REACH - 0.2)
        heads = heads[: 1 + (lesion.amount > 0.6)]
        count = 6 + int(32 * lesion.amount)
        pick = rng.integers(0, len(heads), CANDIDATES)[:count]
        points = heads[pick] + 0.13 * np.clip(
            rng.normal(0, 1, (CANDIDATES, 2))[:count], -1.7, 1.7
        )
    sizes = 0.022 + 0.05 * _sizes(rng, len(points), 0, 1) ** 2
    field, mask = blobs(canvas, points, sizes, None, 0.4, rng)
    cover(scene.light, 0.85 * _strength(lesion) * field, (0.97, 0.86, 0.42))
    return mask


def cotton_wool(scene: Scene, lesion: Lesion, place: str, rng: Rng) -> Mask:
    """White, soft, in the nerve fibre layer, over the vessels."""
    canvas = scene.canvas
    count = 1 + int(2.5 * lesion.amount)
    points = _positions(scene, rng, place, count, 0.9, 0.85, FIELD_REACH - 0.2)
    half = np.stack(
        [_sizes(rng, len(points), 0.12, 0.21), _sizes(rng, len(points), 0.09, 0.14)], 1
    )
    angle = rng.uniform(0, np.pi, len(points))
    field, mask = blobs(canvas, points, half, angle, 0.35, rng)
    soft = smooth(field, 0.035 * canvas.scale)
    np.maximum(scene.veil, 0.72 * _strength(lesion) * soft, out=scene.veil)
    return mask


def _tangle(rng: Rng, origin: Field, lines: int, length: float) -> list[Field]:
    """Fine loops that wander from a place, each (M, 2)."""
    heading = rng.uniform(0, 2 * np.pi, lines)
    turns = rng.normal(0, 0.8, (lines, 6)).cumsum(1) + heading[:, None]
    steps = length / 6 * np.stack([np.cos(turns), np.sin(turns)], -1)
    knots = origin[:, None] + np.concatenate(
        [np.zeros((lines, 1, 2)), steps.cumsum(1)], 1
    )
    return list(spline(knots, steps=4))


def _new_vessels(scene: Scene, lines: list[Field], depth: float) -> Mask:
    canvas = scene.canvas
    page = canvas.lines(lines, 0.024)
    _bleed(scene, page, depth)
    return np.asarray(canvas.strokes(lines, 0.075) > 40)


def disc_vessels(scene: Scene, lesion: Lesion, place: str, rng: Rng) -> Mask:
    """A lace of new vessels on the disc and its margin."""
    count = 9 + int(12 * lesion.amount)
    angle = rng.uniform(0, 2 * np.pi, count)
    ring = 0.36 * np.stack([np.cos(angle), np.sin(angle)], 1)
    origin = (np.array(scene.build.disc) + ring).astype(np.float32)
    lines = _tangle(rng, origin, count, 0.42 + 0.2 * lesion.amount)
    return _new_vessels(scene, lines, 0.5 * _strength(lesion))


def frond(scene: Scene, lesion: Lesion, place: str, rng: Rng) -> Mask:
    """A fan of new vessels away from the disc."""
    centre = _positions(scene, rng, place, 1, 1.2, 1.1, FIELD_REACH - 0.45)
    count = 11 + int(12 * lesion.amount)
    origin = np.repeat(centre, count, 0) + rng.normal(0, 0.07, (count, 2))
    lines = _tangle(rng, origin.astype(np.float32), count, 0.5 + 0.2 * lesion.amount)
    return _new_vessels(scene, lines, 0.5 * _strength(lesion))


def preretinal(scene: Scene, lesion: Lesion, place: str, rng: Rng) -> Mask:
    """Blood before the retina with a level on top, shaped like a boat."""
    canvas = scene.canvas
    x = -0.65 if place.endswith("temporal") else 1.25
    x, y = x + rng.normal(0, 0.12), rng.uniform(1.0, 1.2)
    wide = 0.34 + 0.3 * lesion.amount
    high = 0.75 * wide
    knots = [(x - wide, y), (x - 0.8 * wide, y + 0.6 * high), (x, y + high)]
    knots += [(x + 0.75 * wide, y + 0.62 * high), (x + wide, y)]
    hull = np.concatenate([spline(knots), [(x, y - 0.03)]])
    field = canvas.polygon(hull, 0.015)
    _bleed(scene, field, 1.0 * _strength(lesion))
    return np.asarray(field > 0.5)


def drusen(scene: Scene, lesion: Lesion, place: str, rng: Rng) -> Mask:
    """Pale yellow dots under the retina; large ones have soft margins."""
    canvas = scene.canvas
    if place == "macula":
        count = 8 + int(55 * lesion.amount)
        points = _central(rng, count, 0.08, 1.0)
    else:
        points = _positions(scene, rng, place, 5 + int(12 * lesion.amount), 1.2)
    grown = 0.020 + 0.026 * lesion.amount
    sizes = grown * _sizes(rng, len(points), 0.5, 1.7)
    field, mask = blobs(canvas, points, sizes, None, 0.25, rng)
    soft = smooth(field, 0.4 * grown * canvas.scale)
    cover(scene.light, 0.6 * _strength(lesion) * soft, (0.90, 0.64, 0.30))
    return mask


def atrophy(scene: Scene, lesion: Lesion, place: str, rng: Rng) -> Mask:
    """A sharp pale patch in which choroidal vessels show, with a dark margin."""
    canvas = scene.canvas
    centres = rng.normal(0, 0.2, (3, 2))
    sizes = (0.24 + 0.34 * lesion.amount) * rng.uniform(0.7, 1.15, 3)
    field, mask = blobs(canvas, centres, sizes, None, 0.4, rng)
    strength = _strength(lesion)
    rim = np.clip(2.2 * smooth(field, 0.06 * canvas.scale), 0, 1) * (1 - field)
    scene.light *= 1 - 0.16 * strength * rim
    cover(scene.light, 0.6 * strength * field, (0.88, 0.60, 0.38))
    y = rng.uniform(-0.9, 0.9, (7, 1)) + rng.normal(0, 0.12, (7, 5))
    x = np.tile(np.linspace(-1.1, 1.1, 5), (7, 1))
    vessels = canvas.lines(list(spline(np.stack([x, y], -1))), 0.06)
    seen = smooth(vessels, 0.02 * canvas.scale)
    cover(scene.light, 0.5 * strength * seen * field, (0.80, 0.36, 0.20))
    return mask


def scars(scene: Scene, lesion: Lesion, place: str, rng: Rng) -> Mask:
    """Burns of a laser: pale, with pigment, in a loose grid away from the macula."""
    canvas = scene.canvas
    candidates = _positions(scene, rng, place, CANDIDATES, 1.45, 1.0)
    kept: list[Field] = []
    wanted = 6 + int(12 * lesion.amount)
    for point in candidates[:80]:
        if all(np.hypot(*(point - other)) > 0.27 for other in kept):
            kept.append(point)
        if len(kept) == wanted:
            break
    points = np.stack(kept)
    sizes = _sizes(rng, len(points), 0.07, 0.105)
    field, mask = blobs(canvas, points, sizes, None, 0.25, rng)
    cover(scene.light, 0.5 * _strength(lesion) * field, (0.92, 0.70, 0.46))
    spots = points + rng.normal(0, 0.02, points.shape)
    dark, _ = blobs(canvas, spots, 0.42 * sizes, None, 0.3, rng)
    cover(scene.light, 0.6 * _strength(lesion) * dark, (0.26, 0.14, 0.08))
    return mask


PAINTERS: dict[str, Painter] = {
    "laser scars": scars,
    "drusen": drusen,
    "geographic atrophy": atrophy,
    "hard exudates": exudates,
    "microaneurysms": microaneurysms,
    "blot hemorrhages": blots,
    "flame hemorrhages": flames,
    "disc hemorrhage": disc_bleed,
    "subretinal hemorrhage": subretinal,
    "cotton wool spots": cotton_wool,
    "disc neovascularization": disc_vessels,
    "peripheral neovascularization": frond,
    "preretinal hemorrhage": preretinal,
}
"""Kind of lesion to its painter."""

PLACES = (*QUADRANTS, "macula", "optic disc")


def paint(scene: Scene, lesion: Lesion, place: str) -> Mask:
    """Draw the lesions of one kind in one place and return their mask."""
    rng = np.random.default_rng((lesion.seed, PLACES.index(place)))
    return PAINTERS[lesion.kind](scene, lesion, place, rng)
