"""Tubes, lines and implants: thin, dense, man-made."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vlp_zoo.data.phantom.canvas import Field, Mask, Rng, spline
from vlp_zoo.data.phantom.chest.anatomy import Chest
from vlp_zoo.data.phantom.chest.facts import Finding, catheter_route, tube_height
from vlp_zoo.data.phantom.chest.radiograph import Scene

__all__ = ["DEVICE_PATHS", "paint_device"]

Paths = list[Field]
Point = tuple[float, float]
Router = Callable[[Chest, Finding, Rng], tuple[Paths, Paths]]
"""(thin lines, filled outlines) of a device."""


def _entry(
    chest: Chest, finding: Finding, way: list[Point], *crossing: Point
) -> list[Point]:
    """From the skin into the right vein; what comes from the left has to cross."""
    points = [(float(x), float(y)) for x, y in chest.place(finding.side, way)]
    return [*points, *(crossing if finding.side == "left" else ())]


def _endotracheal(chest: Chest, finding: Finding, rng: Rng) -> tuple[Paths, Paths]:
    x, y = chest.carina
    end = float(y) - tube_height(finding)
    return [spline([(0.503, -0.03), (0.502, 0.1), (float(x) + 0.003, end)])], []


def _enteric(chest: Chest, finding: Finding, rng: Rng) -> tuple[Paths, Paths]:
    dome = chest.domes["left"]
    knots = [
        (0.512, -0.03),
        (0.514, 0.2),
        (0.51, 0.42),
        (0.515, 0.62),
        (0.53, dome + 0.02),
        (0.58, dome + 0.09),
        (0.66 + float(rng.uniform(-0.02, 0.02)), dome + 0.105),
    ]
    return [spline(knots)], []


def _central(chest: Chest, finding: Finding, rng: Rng) -> tuple[Paths, Paths]:
    tip = (0.452, float(rng.uniform(0.36, 0.43)))
    if catheter_route(finding) == "internal jugular":
        start = [(0.062, -0.03), (0.06, 0.06), (0.05, 0.13)]
    else:
        start = [(0.30, 0.24), (0.22, 0.165), (0.13, 0.165), (0.06, 0.185)]
    outside = _entry(chest, finding, start, (0.52, 0.215), (0.465, 0.25))
    return [spline([*outside, (0.455, 0.29), tip])], []


def _pacemaker(chest: Chest, finding: Finding, rng: Rng) -> tuple[Paths, Paths]:
    u, y = 0.255 + float(rng.uniform(-0.02, 0.02)), chest.build.apex + 0.105
    case = [
        (u - 0.045, y - 0.02),
        (u - 0.02, y - 0.037),
        (u + 0.03, y - 0.033),
        (u + 0.045, y),
        (u + 0.03, y + 0.033),
        (u - 0.03, y + 0.035),
    ]
    outline = spline(chest.place(finding.side, case), closed=True, steps=4)
    way = [(u - 0.04, y), (0.17, y - 0.045), (0.075, y - 0.015)]
    entry = _entry(chest, finding, way, (0.5, 0.225))
    width, ratio = chest.build.width, chest.shape.heart
    left = 1.38 * width * ratio
    low = chest.domes["left"] - 0.03
    vein = [(0.456, 0.29), (0.455, 0.40)]
    ventricle = [
        *entry,
        *vein,
        (0.45, 0.55),
        (0.5, low - 0.015),
        (0.5 + 0.6 * left, low),
    ]
    atrium = [*entry, *vein, (0.447, 0.50), (0.465, 0.56), (0.475, 0.52)]
    return [spline(ventricle), spline(atrium)], [outline]


def _port(chest: Chest, finding: Finding, rng: Rng) -> tuple[Paths, Paths]:
    u, y = 0.235 + float(rng.uniform(-0.02, 0.02)), chest.build.apex + 0.135
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    ring = np.stack([u + 0.021 * np.cos(turn), y + 0.021 * np.sin(turn)], 1)
    way = [(u, y - 0.02), (0.19, y - 0.075), (0.11, y - 0.08), (0.06, y - 0.035)]
    entry = _entry(chest, finding, way, (0.48, 0.245))
    tip = (0.452, float(rng.uniform(0.37, 0.43)))
    return [spline([*entry, (0.455, 0.31), tip])], [chest.place(finding.side, ring)]


def _drain(chest: Chest, finding: Finding, rng: Rng) -> tuple[Paths, Paths]:
    y = float(rng.uniform(0.58, 0.64))
    way = [
        (chest.build.width + 0.12, y + 0.03),
        (chest.build.width - 0.02, y - 0.02),
        (0.21, y - 0.13),
        (0.16, 0.34),
        (0.14, 0.25 + float(rng.uniform(-0.03, 0.03))),
    ]
    line = spline(chest.place(finding.side, way))
    return [line, line + np.array([0.0, 0.012], np.float32)], []


def _wires(chest: Chest, finding: Finding, rng: Rng) -> tuple[Paths, Paths]:
    turn = np.linspace(0, 2 * np.pi, 13)
    rings = []
    for number in range(6):
        x = 0.5 + float(rng.normal(0, 0.004))
        y = 0.25 + 0.075 * number
        rings.append(
            np.stack([x + 0.014 * np.cos(turn), y + 0.007 * np.sin(turn)], 1).astype(
                np.float32
            )
        )
    return rings, []


DEVICE_PATHS: dict[str, Router] = {
    "endotracheal tube": _endotracheal,
    "enteric tube": _enteric,
    "central venous catheter": _central,
    "pacemaker": _pacemaker,
    "port": _port,
    "chest tube": _drain,
    "sternotomy wires": _wires,
}
"""Kind of device to its course."""

WIDTHS = {"endotracheal tube": 0.0095, "chest tube": 0.006, "enteric tube": 0.0065}


def paint_device(scene: Scene, finding: Finding) -> Mask:
    """Draw a device and return the mask of its course, a little wider than itself."""
    canvas = scene.canvas
    rng = np.random.default_rng((finding.seed, 3))
    lines, outlines = DEVICE_PATHS[finding.kind](scene.chest, finding, rng)
    width = WIDTHS.get(finding.kind, 0.0055)
    course = canvas.lines(lines, width)
    scene.extra += 0.34 * course
    mask = canvas.strokes(lines, width + 0.008) > 40
    for outline in outlines:
        body = canvas.polygon(outline)
        scene.extra += 0.55 * body
        mask |= body > 0.5
    return np.asarray(mask)
