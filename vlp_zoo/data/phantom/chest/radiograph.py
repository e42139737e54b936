"""The normal frontal chest as attenuation, layer by layer.

A radiograph is the logarithm of what X-rays leave after the sum of attenuation along
each ray. So layers add: soft tissue, bone and vessels add attenuation, air in the
lungs takes it away, and disease replaces air. Vessels show only where there is air
around them, which gives the silhouette sign for free.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vlp_zoo.data.phantom.canvas import (
    Canvas,
    Field,
    Picture,
    Rng,
    sigmoid,
    smooth,
    spline,
)
from vlp_zoo.data.phantom.chest.anatomy import SIDES, Chest

__all__ = ["Scene", "attenuation", "normal_scene", "vessel_tree"]

GENERATIONS = 6
"""Divisions of the vessels that a picture of a few hundred pixels can show."""

TREES = 32
"""Vessel trees to choose from; each patient turns and stretches two of them."""


@dataclass
class Scene:
    """Layers of one exposure that disease may change before they are summed.

    Attributes:
        canvas: The pixel grid.
        chest: The outlines.
        lungs: Side to (H, W), 1 inside.
        air: (H, W), share of the ray that runs through aerated lung.
        heart: (H, W), 1 inside.
        tissue: (H, W), soft tissue and bone outside the lungs.
        vessels: (H, W), vessels and bronchial walls.
        ribs: (H, W), bone of the rib cage.
        extra: (H, W), whatever disease and devices add.
    """

    canvas: Canvas
    chest: Chest
    lungs: dict[str, Field]
    air: Field
    heart: Field
    tissue: Field
    vessels: Field
    ribs: Field
    extra: Field


def vessel_tree(rng: Rng) -> list[tuple[float, Field]]:
    """Branches that leave a hilum at the origin, fan out along +x and divide.

    Returns:
        For each generation its width and its branches, (N, 3, 2) points.
    """
    angles = np.deg2rad(np.array([-80, -55, -25, 5, 30, 52, 72, 88], np.float32))
    angles = angles + rng.normal(0, 0.09, len(angles)).astype(np.float32)
    start = np.stack([np.full(8, -0.012), 0.055 * np.sin(angles)], 1)
    length = np.full(8, 0.075, np.float32) * rng.uniform(0.85, 1.15, 8)
    generations: list[tuple[float, Field]] = []
    width = 0.0145
    for _ in range(GENERATIONS):
        count = len(angles)
        step = np.stack([np.cos(angles), np.sin(angles)], 1) * length[:, None]
        bow = rng.normal(0, 0.06, count)[:, None] * np.stack(
            [-step[:, 1], step[:, 0]], 1
        )
        end = start + step
        branches = np.stack([start, start + 0.5 * step + bow, end], 1)
        generations.append((width, branches.astype(np.float32)))
        spread = rng.uniform(0.16, 0.5, count).astype(np.float32)
        lean = rng.normal(0, 0.1, count).astype(np.float32)
        angles = np.concatenate([angles + spread + lean, angles - spread + lean])
        angles = np.clip(angles, -1.75, 1.75)
        start = np.concatenate([end, end])
        length = np.concatenate([length, length]) * 0.76
        length = length * rng.uniform(0.85, 1.15, len(length))
        width *= 0.66
    return generations


@lru_cache(maxsize=2 * TREES)
def _tree_page(number: int, size: int) -> Picture:
    """One tree of the bank, drawn once per process for each image size."""
    rng = np.random.default_rng((9, number))
    canvas = Canvas(size, [[1, 0, 0.5], [0, 1, 0.5]])
    page = np.zeros((size, size), np.uint8)
    strengths = (1.0, 0.9, 0.8, 0.7, 0.62, 0.55)
    tree = vessel_tree(rng)
    for strength, (width, branches) in reversed(
        list(zip(strengths, tree, strict=True))
    ):
        canvas.strokes(list(branches), width, page, strength)
    return page


def _vessels(canvas: Canvas, chest: Chest) -> Field:
    build = chest.build
    rng = np.random.default_rng((build.seed, 7))
    fine = np.zeros((canvas.size, canvas.size), np.float32)
    for side, sign in SIDES.items():
        page = _tree_page(int(rng.integers(TREES)), canvas.size)
        turn = float(rng.normal(0, 0.07))
        across, along = (float(v) for v in rng.uniform(0.92, 1.12, 2))
        matrix = np.array(
            [
                [sign * across * np.cos(turn), -sign * along * np.sin(turn)],
                [across * np.sin(turn), along * np.cos(turn)],
            ]
        )
        fine += canvas.stamp(page, chest.hila[side], matrix)
    fine = smooth(fine * build.vessels, 0.0022 * canvas.scale)
    # The smallest vessels are below the resolution: a haze around their parents.
    return fine + 0.35 * smooth(fine, 0.018 * canvas.scale)


def _hila(canvas: Canvas, chest: Chest) -> Field:
    rng = np.random.default_rng((chest.build.seed, 8))
    total = np.zeros((canvas.size, canvas.size), np.float32)
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    for dx, dy, across, along, weight in (
        (-0.005, -0.03, 0.022, 0.03, 0.8),
        (0.012, 0.005, 0.02, 0.03, 0.9),
        (0.018, 0.045, 0.017, 0.04, 0.9),
    ):
        outlines = []
        for side, sign in SIDES.items():
            x, y = chest.hila[side] + rng.normal(0, 0.004, 2).astype(np.float32)
            height = along * np.sin(turn)
            across_body = x + sign * (dx + across * np.cos(turn) + 0.3 * height)
            outlines.append(np.stack([across_body, y + dy + height], 1))
        total += weight * canvas.polygons(outlines)
    return smooth(total, 0.011 * canvas.scale)


def _rib_cage(canvas: Canvas, chest: Chest) -> Field:
    """Bands with bright margins: cortex is denser than marrow."""
    back: list[Field] = []
    front: list[Field] = []
    for side in SIDES:
        behind, before = chest.ribs(side)
        back += behind
        front += before
    outer = canvas.strokes(back, 0.026).astype(np.float32)
    inner = canvas.strokes(back, 0.017).astype(np.float32)
    outer_front = canvas.strokes(front, 0.024).astype(np.float32)
    inner_front = canvas.strokes(front, 0.017).astype(np.float32)
    cage = 1.0 * outer - 0.45 * inner + 0.62 * outer_front - 0.25 * inner_front
    blurred = smooth(cage * (1 / 255), 0.0028 * canvas.scale)
    return blurred * chest.build.rib_strength


def _clavicles(canvas: Canvas, chest: Chest) -> Field:
    axes = [chest.clavicle(side) for side in SIDES]
    outer = canvas.strokes(axes, 0.030).astype(np.float32)
    inner = canvas.strokes(axes, 0.019).astype(np.float32)
    ends = [axis[:6] for axis in axes]
    head = canvas.strokes(ends, 0.038).astype(np.float32)
    bone = np.maximum(outer, 0.9 * head) - 0.4 * inner
    return smooth(bone * (1 / 255), 0.003 * canvas.scale)


def _scapulae(canvas: Canvas, chest: Chest, rotated_out: float) -> Field:
    total = np.zeros((canvas.size, canvas.size), np.float32)
    out = 0.035 * rotated_out
    for side in SIDES:
        knots = [
            (0.285 + out, 0.20),
            (0.345 + out, 0.155),
            (0.42 + out, 0.17),
            (0.40 + out, 0.27),
            (0.345 + out, 0.46),
            (0.325 + out, 0.45),
            (0.295 + out, 0.32),
        ]
        blade = spline(chest.place(side, knots), closed=True, steps=4)
        total += canvas.polygon(blade, 0.004)
        rim = canvas.strokes([blade[:20], blade[-12:]], 0.008).astype(np.float32)
        total += smooth(rim * (0.5 / 255), 0.003 * canvas.scale)
    return total


def _spine(canvas: Canvas, chest: Chest) -> Field:
    """Vertebral bodies and discs, pedicles and spinous processes."""
    field = np.zeros((canvas.size, canvas.size), np.float32)
    near = np.flatnonzero((np.abs(canvas.x - 0.5) < 0.075).any(0))
    if not len(near):
        return field
    columns = slice(int(near[0]), int(near[-1]) + 1)
    x, y = canvas.x[:, columns], canvas.y[:, columns]
    away = np.abs(x - chest.midline(y))
    column = sigmoid((0.036 - away) / 0.004)
    phase = (y - chest.build.apex) * (1 / 0.052)
    phase = phase - np.floor(phase)
    disc = np.exp(-(((phase - 0.5) / 0.13) ** 2))
    edge = np.exp(-(((np.abs(phase - 0.5) - 0.2) / 0.05) ** 2))
    middle = np.minimum(phase, 1 - phase)
    pedicle = np.exp(-(((away - 0.024) / 0.006) ** 2) - (middle / 0.16) ** 2)
    process = np.exp(-((away / 0.006) ** 2) - ((phase - 0.85) / 0.2) ** 2)
    field[:, columns] = column * (1.0 - 0.30 * disc + 0.16 * edge)
    field[:, columns] += 0.3 * pedicle + 0.3 * process
    return field


def _airway(canvas: Canvas, chest: Chest) -> Field:
    cx, cy = chest.carina
    trunk = spline([(0.5, -0.02), (0.5, 0.1), (0.497, 0.22), (cx, cy)])
    right = spline([(cx, cy - 0.005), (cx - 0.04, cy + 0.045), (cx - 0.07, cy + 0.09)])
    left = spline([(cx, cy - 0.005), (cx + 0.05, cy + 0.035), (cx + 0.095, cy + 0.05)])
    tube = canvas.strokes([trunk], 0.030).astype(np.float32)
    bronchi = canvas.strokes([right, left], 0.021).astype(np.float32)
    return smooth(np.maximum(tube, 0.75 * bronchi) * (1 / 255), 0.004 * canvas.scale)


def _body(canvas: Canvas, chest: Chest) -> Field:
    """Thickness of soft tissue, 0 in the air around the body."""
    build = chest.build
    side = build.width + 0.055 + 0.035 * build.fat
    knots = [
        (0.085, -0.2),
        (0.09, 0.015),
        (0.13, 0.06),
        (0.24, 0.085),
        (0.36, 0.105),
        (0.47, 0.15),
        (0.60, 0.23),
        (0.76, 0.34),
        (0.76, 0.46),
        (side + 0.055, 0.52),
        (side + 0.02, 0.60),
        (side, 0.70),
        (side + 0.01, 0.85),
        (side + 0.02, 1.2),
    ]
    right, left = chest.place("right", knots), chest.place("left", knots)
    outline = np.concatenate([spline(left, steps=5), spline(right, steps=5)[::-1]])
    torso = canvas.polygon(outline)
    round_edge = 0.35 * smooth(torso, 0.006 * canvas.scale) + 0.65 * smooth(
        torso, 0.03 * canvas.scale
    )
    thick = round_edge * (0.92 + 0.18 * canvas.y)
    if build.breasts:
        # Nothing of them lies above this height.
        first = int(np.argmax((canvas.y > 0.42).any(1)))
        x, y = canvas.x[first:], canvas.y[first:]
        for sign in SIDES.values():
            cx, cy = 0.5 + sign * 0.19, 0.60
            across, along = 0.145, 0.165
            radius = ((x - cx) / across) ** 2 + ((y - cy) / along) ** 2
            fold = sigmoid((1 - radius) / 0.07)
            depth = np.clip((y - 0.42) / 0.3, 0, 1)
            thick[first:] += 0.16 * build.breasts * fold * depth
    return np.asarray(thick, np.float32)


def normal_scene(canvas: Canvas, chest: Chest, scapulae_out: float, rng: Rng) -> Scene:
    """Draw everything that a healthy chest has.

    Args:
        canvas: The pixel grid of the exposure.
        chest: Outlines, enlarged or lifted where disease did so.
        scapulae_out: 1 if the shoulders are rotated forward as for a PA view.
        rng: For body texture.
    """
    build = chest.build
    lungs = {side: canvas.polygon(chest.lungs[side], 0.0035) for side in SIDES}
    both = np.minimum(lungs["right"] + lungs["left"], 1.0)
    heart = canvas.polygon(chest.heart, 0.006)
    middle = canvas.polygon(chest.mediastinum, 0.005)
    # Lungs are deepest in the middle of each side, and lung lies behind the heart.
    depth = 0.62 + 0.38 * smooth(both, 0.05 * canvas.scale)
    air = both * depth * (1 - 0.80 * heart) * (1 - 0.88 * middle)
    tissue = _body(canvas, chest)
    below = smooth(
        canvas.polygon(
            [
                (-0.5, 2),
                (-0.5, chest.tips["right"] + 0.02),
                (1.5, chest.tips["left"]),
                (1.5, 2),
            ]
        ),
        0.05 * canvas.scale,
    )
    tissue = tissue + 0.26 * below * (tissue > 0.3)
    tissue = tissue + 0.20 * _spine(canvas, chest)
    tissue = tissue + 0.06 * middle + 0.20 * heart * both
    tissue = tissue - 0.24 * _airway(canvas, chest)
    tissue = tissue + 0.20 * _clavicles(canvas, chest)
    tissue = tissue + 0.07 * _scapulae(canvas, chest, scapulae_out)
    if build.bubble > 0.25:
        cx, cy = 0.5 + 0.16, chest.domes["left"] + 0.075
        gas = ((canvas.x - cx) / (0.05 + 0.03 * build.bubble)) ** 2
        gas = gas + ((canvas.y - cy) / 0.035) ** 2
        tissue = tissue - 0.22 * sigmoid((1 - gas) / 0.2)
    texture = canvas.noise("cloud", rng, 1.3)
    tissue = tissue * (1 + 0.022 * texture)
    vessels = _vessels(canvas, chest) + 0.55 * _hila(canvas, chest)
    return Scene(
        canvas=canvas,
        chest=chest,
        lungs=lungs,
        air=np.asarray(air, np.float32),
        heart=heart,
        tissue=np.asarray(tissue, np.float32),
        vessels=np.asarray(vessels, np.float32),
        ribs=_rib_cage(canvas, chest),
        extra=np.zeros_like(air, np.float32),
    )


def attenuation(scene: Scene) -> Field:
    """Sum the layers, (H, W), 0 = nothing in the way."""
    both = np.minimum(scene.lungs["right"] + scene.lungs["left"], 1.0)
    # Ribs also show over the upper abdomen and the chest wall, only fainter.
    bone = scene.ribs * (0.06 + 0.125 * both)
    total = (
        scene.tissue
        - 0.66 * scene.air
        + 0.17 * scene.vessels * scene.air
        + bone
        + scene.extra
    )
    return np.asarray(np.maximum(total, 0.0), np.float32)
