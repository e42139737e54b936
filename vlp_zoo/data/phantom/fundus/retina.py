"""The healthy retina as reflected light, layer by layer, and what lies on it.

Pigment and blood absorb, so they multiply the light of what is behind them; exudates,
scars and the nerve head scatter, so they cover it. Light is red, green and blue from
0 to 1 in planes; the camera makes a picture of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from vlp_zoo.data.phantom.canvas import Canvas, Field, Mask, Rng, smooth
from vlp_zoo.data.phantom.fundus.anatomy import (
    Branch,
    EyeBuild,
    cup_outline,
    disc_outline,
    vessel_tree,
)
from vlp_zoo.data.phantom.fundus.facts import EyeFacts

__all__ = ["Mask", "Scene", "blobs", "cover", "finish", "retina_scene"]


ARTERY = (0.05, 0.46, 0.36)
VEIN = (0.12, 0.68, 0.52)
BLOOD = (0.30, 1.30, 1.00)
"""What full layers absorb of red, green and blue (natural logarithm)."""

WIDTHS = (0.1, 0.082, 0.066, 0.053, 0.042, 0.033, 0.026, 0.02, 0.015)
"""Calibres that are drawn, in disc diameters."""


@dataclass
class Scene:
    """Layers of one eye that disease may change before light is summed.

    Attributes:
        canvas: The pixel grid.
        build: The eye.
        facts: What it has.
        light: (3, H, W) of everything behind the vessels.
        blood: (H, W), blood outside vessels.
        arteries: (H, W), 1 inside.
        veins: (H, W), 1 inside.
        veil: (H, W), what covers even vessels, such as cotton wool.
        trees: Vessels, arteries first.
        structures: Masks of disc, cup and vessels.
    """

    canvas: Canvas
    build: EyeBuild
    facts: EyeFacts
    light: Field
    blood: Field
    arteries: Field
    veins: Field
    veil: Field
    trees: tuple[list[Branch], list[Branch]]
    structures: dict[str, Mask] = field(default_factory=dict)


def cover(light: Field, alpha: Field, colour: Sequence[float]) -> None:
    """Lay a colour over light (3, H, W) in place, with an opacity (H, W)."""
    for plane, value in zip(light, colour, strict=True):
        plane += alpha * (np.float32(value) - plane)


def blobs(
    canvas: Canvas,
    centres: npt.ArrayLike,
    radii: npt.ArrayLike,
    angles: npt.ArrayLike | None = None,
    rough: float = 0.0,
    rng: Rng | None = None,
) -> tuple[Field, Mask]:
    """Filled spots as a field from 0 to 1; what is below a pixel is drawn fainter.

    Args:
        canvas: The pixel grid.
        centres: (N, 2) body coordinates.
        radii: (N,) or (N, 2) half axes in body units.
        angles: (N,) direction of the first axis in radians, in body coordinates.
        rough: How irregular the margins are, 0 for ellipses.
        rng: For the margins.

    Returns:
        The field, and the pixels covered: at least one for each spot in the picture,
        however small.
    """
    page = np.zeros((canvas.size, canvas.size), np.float32)
    mask = np.zeros(page.shape, np.bool_)
    middle = canvas.pixels(centres) - 0.5
    half = np.asarray(radii, np.float32) * canvas.scale
    if half.ndim == 1:
        half = np.stack([half, half], 1)
    slant = np.zeros(len(middle)) if angles is None else np.asarray(angles)
    ahead = np.stack([np.cos(slant), np.sin(slant)], 1) @ canvas.affine[:, :2].T
    ahead = (ahead / np.hypot(*ahead.T)[:, None]).astype(np.float32)
    weight = np.minimum(1.0, half[:, 0] / 0.6) * np.minimum(1.0, half[:, 1] / 0.6)
    half = np.maximum(half, 0.6)
    # Patches of like size are summed together; most spots are a few pixels wide.
    reach = np.ceil(half.max(1) * (1 + 0.8 * rough)).astype(int) + 1
    level = np.ceil(np.log2(reach)).astype(int)
    waves = None
    if rough and rng is not None:
        waves = rng.uniform(0, 2 * np.pi, (len(middle), 3)).astype(np.float32)
    for size in np.unique(level):
        chosen = np.flatnonzero(level == size)
        span = np.arange(-(1 << size), (1 << size) + 1)
        corner = np.rint(middle[chosen]).astype(int)
        columns = corner[:, :1] + span
        rows = corner[:, 1:] + span
        dx = (columns - middle[chosen, :1]).astype(np.float32)[:, None, :]
        dy = (rows - middle[chosen, 1:]).astype(np.float32)[:, :, None]
        c, s = ahead[chosen, 0][:, None, None], ahead[chosen, 1][:, None, None]
        u = (c * dx + s * dy) / half[chosen, 0][:, None, None]
        v = (c * dy - s * dx) / half[chosen, 1][:, None, None]
        radius = np.sqrt(u * u + v * v)
        if waves is not None:
            around = np.arctan2(v, u)
            phase = waves[chosen][:, :, None, None]
            radius = radius / (
                1
                + 0.5 * rough * np.sin(2 * around + phase[:, 0])
                + 0.4 * rough * np.sin(3 * around + phase[:, 1])
                + 0.3 * rough * np.sin(5 * around + phase[:, 2])
            )
        small = half[chosen].min(1)[:, None, None]
        inside = np.clip((1 - radius) * small + 0.5, 0, 1)
        rows = np.broadcast_to(rows[:, :, None], inside.shape)
        columns = np.broadcast_to(columns[:, None, :], inside.shape)
        there = (rows >= 0) & (rows < canvas.size)
        there &= (columns >= 0) & (columns < canvas.size) & (inside > 0)
        seen = inside > 0.35
        mask[rows[there & seen], columns[there & seen]] = True
        inside *= weight[chosen][:, None, None]
        np.maximum.at(page, (rows[there], columns[there]), inside[there])
    return page, mask


def _tree_field(canvas: Canvas, tree: list[Branch]) -> Field:
    """Vessels of all calibres; trunks taper in pieces, branches have one width."""
    by_width: dict[float, list[Field]] = {}
    for branch in tree:
        points = branch.lines.shape[1]
        pieces = max(1, (points - 1) // 8)
        for piece in range(pieces):
            first = piece * (points - 1) // pieces
            last = (piece + 1) * (points - 1) // pieces
            share = (piece + 0.5) / pieces
            width = branch.widths[:, 0] * (1 - share) + branch.widths[:, 1] * share
            nearest = np.abs(np.log(np.array(WIDTHS)[:, None] / width)).argmin(0)
            for step in np.unique(nearest):
                lines = branch.lines[nearest == step, first : last + 1]
                by_width.setdefault(WIDTHS[step], []).extend(lines)
    page = np.zeros((canvas.size, canvas.size), np.uint8)
    for width in sorted(by_width):
        canvas.strokes(by_width[width], width, page)
    return np.multiply(page, np.float32(1 / 255), dtype=np.float32)


def _background(canvas: Canvas, build: EyeBuild) -> Field:
    """Choroid and pigment epithelium, (3, H, W)."""
    rng = np.random.default_rng((build.seed, 11))
    cloud = canvas.noise("cloud", rng, 1.4)
    weave = canvas.noise("patch", rng, 0.8)
    # Between choroidal vessels lies pigment; the darker the eye, the less one sees.
    vessels = np.exp(-np.square(weave * np.float32(2.2)))
    stripes = build.tessellation * (vessels - np.float32(0.5))
    squared = np.square(canvas.x) + np.square(canvas.y)
    yellow = build.macula * np.exp(squared * np.float32(-1 / (2 * 0.62**2)))
    pit = build.macula * np.exp(squared * np.float32(-1 / (2 * 0.17**2)))
    dx, dy = build.disc
    near = np.square(canvas.x - dx) + np.square(canvas.y - dy)
    sheen = np.exp(near * np.float32(-1 / (2 * 1.25**2)))
    dark = build.pigment
    base = (0.78 - 0.16 * dark, 0.33 - 0.12 * dark, 0.17 - 0.07 * dark)
    light = np.empty((3, canvas.size, canvas.size), np.float32)
    for plane, value, mottle, stripe, shade, shine in zip(
        light,
        base,
        (0.05, 0.08, 0.07),
        (0.10, 0.20, 0.14),
        (0.14, 0.30, 0.40),
        (0.04, 0.14, 0.12),
        strict=True,
    ):
        depth = mottle * cloud - stripe * stripes
        depth += np.float32(shine) * sheen - np.float32(shade) * yellow
        depth -= np.float32(0.55 * shade + 0.05) * pit
        np.multiply(np.exp(depth), np.float32(value), out=plane)
    if build.reflex > 0.05:
        glint = np.exp(squared * np.float32(-1 / (2 * 0.05**2)))
        cover(light, np.float32(0.35 * build.reflex) * glint, (0.95, 0.75, 0.5))
    return light


def _nerve_head(scene: Scene) -> None:
    canvas, build, facts = scene.canvas, scene.build, scene.facts
    margin = disc_outline(build)
    if build.crescent > 0.05:
        # A crescent of bare sclera towards the macula, as in short sight.
        moved = disc_outline(build, 1.0 + 0.25 * build.crescent)
        moved = moved - np.array([0.09 * build.crescent, 0], np.float32)
        cover(scene.light, 0.4 * canvas.polygon(moved, 0.03), (0.82, 0.54, 0.30))
    disc = canvas.polygon(margin, 0.025)
    cover(scene.light, np.float32(0.95 * build.disc_light) * disc, (0.85, 0.43, 0.22))
    outline = cup_outline(build, facts)
    cup = canvas.polygon(outline, 0.03)
    cover(scene.light, np.float32(0.92 * build.disc_light) * cup, (0.93, 0.68, 0.37))
    deep = canvas.polygon(outline.mean(0) + 0.55 * (outline - outline.mean(0)), 0.05)
    cover(scene.light, 0.5 * deep, (0.98, 0.79, 0.48))
    scene.structures["optic disc"] = np.asarray(canvas.polygon(margin) > 0.5)
    scene.structures["optic cup"] = np.asarray(canvas.polygon(outline) > 0.5)
    if facts.notch:
        _fiber_defect(scene, -1.0 if facts.notch == "superior" else 1.0)


def _fiber_defect(scene: Scene, sign: float) -> None:
    """A dark wedge that widens along the arcade from a notched rim."""
    dx, dy = scene.build.disc
    high = 0.85 * scene.build.arcade
    knots = [
        (dx - 0.1, dy + 0.5 * sign),
        (dx - 0.5, dy + 0.95 * sign),
        (0.9, high * 0.88 * sign),
        (-0.6, high * 0.8 * sign),
        (-0.9, high * 1.15 * sign),
        (0.6, high * 1.22 * sign),
        (dx - 0.55, dy + 1.35 * sign),
        (dx + 0.02, dy + 0.5 * sign),
    ]
    wedge = scene.canvas.polygon(knots, 0.08)
    for plane, share in zip(scene.light, (0.05, 0.16, 0.14), strict=True):
        plane *= 1 - np.float32(share) * wedge


def retina_scene(canvas: Canvas, build: EyeBuild, facts: EyeFacts) -> Scene:
    """Everything behind disease: fundus, nerve head and vessels."""
    trees = (vessel_tree(build, vein=False), vessel_tree(build, vein=True))
    arteries, veins = (_tree_field(canvas, tree) for tree in trees)
    if facts.beading:
        veins = np.maximum(veins, _beads(canvas, build, trees[1][0]))
    empty = np.zeros((canvas.size, canvas.size), np.float32)
    scene = Scene(
        canvas=canvas,
        build=build,
        facts=facts,
        light=_background(canvas, build),
        blood=empty.copy(),
        arteries=arteries,
        veins=veins,
        veil=empty,
        trees=trees,
    )
    scene.structures["vessels"] = np.asarray(np.maximum(arteries, veins) > 0.35)
    _nerve_head(scene)
    return scene


def _beads(canvas: Canvas, build: EyeBuild, trunks: Branch) -> Field:
    """Swellings of the venous trunks beyond the disc."""
    rng = np.random.default_rng((build.seed, 12))
    step = np.arange(14, trunks.lines.shape[1] - 4, 3)
    points = trunks.lines[:, step].reshape(-1, 2)
    width = np.repeat(trunks.widths[:, 0], len(step))
    return blobs(canvas, points, width * rng.uniform(0.7, 0.95, len(points)))[0]


def finish(scene: Scene) -> Field:
    """Sum the layers to light, (3, H, W)."""
    canvas = scene.canvas
    soft = 0.008 * canvas.scale
    arteries, veins = smooth(scene.arteries, soft), smooth(scene.veins, soft)
    wall = canvas.strokes(list(scene.trees[0][0].lines), 0.02)
    shine = np.multiply(wall, np.float32(0.35 / 255), dtype=np.float32) * arteries
    light = scene.light
    for plane, artery, vein, blood in zip(light, ARTERY, VEIN, BLOOD, strict=True):
        depth = np.float32(artery) * (arteries - shine)
        depth += np.float32(vein) * veins
        depth += np.float32(blood) * scene.blood
        plane *= cv2.exp(-depth)
    cover(light, np.minimum(scene.veil, 0.95), (0.97, 0.86, 0.66))
    return light
