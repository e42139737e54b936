"""Disease on a frontal chest: each painter changes the layers and returns its mask.

What replaces air is taken from `Scene.air`, so vessels and heart border vanish with
it; what adds density goes to `Scene.extra`. A mask marks the pixels that a reader
would outline.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vlp_zoo.data.phantom.canvas import Field, Grid, Mask, Rng, sigmoid, smooth, spline
from vlp_zoo.data.phantom.chest.anatomy import SIDES
from vlp_zoo.data.phantom.chest.facts import Finding
from vlp_zoo.data.phantom.chest.radiograph import Scene

__all__ = ["PAINTERS", "lift_of", "paint", "rib_sites", "spot"]

Painter = Callable[[Scene, Finding, str, Rng], Mask]

FAINT = 0.55
"""Density of a finding about which the report hedges, against a certain one."""


def lift_of(findings: tuple[Finding, ...]) -> tuple[tuple[str, float], ...]:
    """Rise of the hemidiaphragms: atelectasis takes volume."""
    lift: dict[str, float] = {}
    for finding in findings:
        if finding.label == "Atelectasis" and finding.zone == "lower":
            for side in finding.sides:
                lift[side] = 0.008 + 0.022 * finding.amount
    return tuple(sorted(lift.items()))


def spot(
    scene: Scene, finding: Finding, side: str, rng: Rng, margin: float
) -> tuple[float, float]:
    """A point of the lung inside the finding's zone and clear of the heart.

    Args:
        scene: Where to look.
        finding: Whose zone counts.
        side: Side of the patient.
        rng: Generator of the finding's shape.
        margin: Distance to keep from the chest wall and from the zone's ends.
    """
    chest = scene.chest
    top, bottom = chest.zone(side, finding.zone)
    low = min(bottom, chest.domes[side] - 0.4 * margin)
    high = max(top, chest.build.apex + 0.05)
    pad = min(margin, 0.3 * (low - high))
    y = float(rng.uniform(high + pad, max(low - pad, high + pad + 1e-3)))
    outer = float(chest.wall(y)) - margin
    inner = 0.10
    if y > 0.42:
        share = 0.69 if side == "left" else 0.31
        border = 2 * chest.build.width * chest.shape.heart * share
        inner = max(inner, border * min(1.0, (y - 0.36) / 0.25) + 0.3 * margin)
    inner = min(inner, outer - 0.02)
    u = float(rng.uniform(inner, outer))
    return 0.5 + SIDES[side] * u, y


def _blob(
    scene: Scene,
    centre: tuple[float, float],
    radius: tuple[float, float],
    rng: Rng,
    ragged: float,
    edge: float,
) -> Field:
    """A soft spot from 0 to 1 with a ragged border."""
    canvas = scene.canvas
    angle = float(rng.uniform(-0.6, 0.6))
    dx, dy = canvas.x - centre[0], canvas.y - centre[1]
    turn, lean = float(np.cos(angle)), float(np.sin(angle))
    across = (dx * turn + dy * lean) / radius[0]
    along = (dy * turn - dx * lean) / radius[1]
    distance = np.sqrt(across**2 + along**2)
    if ragged:
        distance = distance + ragged * canvas.noise("patch", rng, 1.0)
    return sigmoid((1 - distance) / edge)


def _strength(finding: Finding) -> float:
    return 1.0 if finding.certain else FAINT


def _replace_air(scene: Scene, density: Grid) -> None:
    scene.air = np.asarray(scene.air * (1 - density), np.float32)


def effusion(scene: Scene, finding: Finding, side: str, rng: Rng) -> Mask:
    """Fluid with a meniscus that climbs the lateral wall."""
    chest, canvas = scene.chest, scene.canvas
    height = 0.045 + 0.36 * finding.amount**1.2
    level = chest.tips[side] - height
    u = np.abs(canvas.x - 0.5) / chest.build.width
    surface = level + 0.045 * (0.55 - u**2) + float(rng.uniform(-0.02, 0.02)) * u
    depth = sigmoid((canvas.y - surface) / 0.008)
    fluid = depth * scene.lungs[side]
    _replace_air(scene, fluid * 0.93 * _strength(finding))
    scene.extra += 0.03 * fluid * _strength(finding)
    return np.asarray(fluid > 0.5)


def pneumothorax(scene: Scene, finding: Finding, side: str, rng: Rng) -> Mask:
    """Black rim without vessels between the wall and the edge of the fallen lung."""
    chest, canvas = scene.chest, scene.canvas
    amount = finding.amount
    hilum = chest.hila[side]
    outline = chest.lungs[side]
    away = outline - hilum
    fall = 0.14 + 0.36 * amount
    # A small one is a cap at the apex; a large one runs down the lateral wall. The
    # base stays on the diaphragm.
    down = np.maximum(away[:, 1], 0)
    reach = fall * np.exp(-down / (0.07 + 0.40 * amount))
    shrink = np.stack([reach, np.where(down > 0, 0, reach)], 1)
    inner = hilum + away * (1 - shrink)
    kept = canvas.polygon(inner, 0.002)
    lateral = np.abs(canvas.x - 0.5) > 0.05
    gap = scene.lungs[side] * (1 - kept) * lateral
    strength = _strength(finding)
    scene.vessels = scene.vessels * (1 - gap)
    scene.air = scene.air * (1 + 0.20 * gap * strength)
    # The fallen lung holds less air.
    scene.air = scene.air * (1 - 0.22 * amount * strength * kept * scene.lungs[side])
    line = canvas.lines([np.concatenate([inner, inner[:1]])], 0.005)
    rim = smooth(line, 0.0015 * canvas.scale)
    scene.extra += 0.11 * rim * scene.lungs[side] * lateral * strength
    return np.asarray((gap > 0.5) & (scene.lungs[side] > 0.5))


def consolidation(scene: Scene, finding: Finding, side: str, rng: Rng) -> Mask:
    """Dense, even, with air bronchograms."""
    radius = 0.075 + 0.055 * finding.amount
    centre = spot(scene, finding, side, rng, 0.06)
    shape = (radius, radius * float(rng.uniform(0.75, 1.1)))
    blob = _blob(scene, centre, shape, rng, 0.10, 0.10) * scene.lungs[side]
    strength = _strength(finding)
    before = scene.air
    _replace_air(scene, 0.88 * blob * strength)
    # Bronchi keep their air: the tree shows dark instead of bright.
    scene.extra -= 0.11 * blob * np.minimum(scene.vessels, 1.0) * before * strength
    return np.asarray((blob > 0.5) & (scene.heart < 0.5))


def pneumonia(scene: Scene, finding: Finding, side: str, rng: Rng) -> Mask:
    """Several patches with blurred borders and uneven density."""
    canvas = scene.canvas
    patchy = 0.5 + 0.5 * np.tanh(1.4 * canvas.noise("patch", rng, 0.9))
    total = np.zeros_like(scene.air)
    middle = spot(scene, finding, side, rng, 0.07)
    for number in range(4 + int(3 * finding.amount)):
        offset = rng.normal(0, 0.045 + 0.03 * finding.amount, 2) * (number > 0)
        centre = (middle[0] + float(offset[0]), middle[1] + float(offset[1]))
        radius = float(rng.uniform(0.025, 0.05))
        blob = _blob(scene, centre, (radius, radius), rng, 0.0, 0.3)
        total = np.maximum(total, blob)
    total = total * scene.lungs[side]
    _replace_air(scene, total * (0.30 + 0.60 * patchy) * _strength(finding))
    return np.asarray((total > 0.45) & (scene.heart < 0.5))


def opacity(scene: Scene, finding: Finding, side: str, rng: Rng) -> Mask:
    """Ground glass: even haze through which vessels still show."""
    centre = spot(scene, finding, side, rng, 0.06)
    radius = 0.095 + 0.05 * finding.amount
    blob = _blob(scene, centre, (radius, radius), rng, 0.05, 0.22)
    blob = blob * scene.lungs[side]
    density = (0.42 + 0.16 * finding.amount) * _strength(finding)
    scene.extra += 0.66 * density * blob * scene.air
    return np.asarray((blob > 0.5) & (scene.heart < 0.5))


def atelectasis(scene: Scene, finding: Finding, side: str, rng: Rng) -> Mask:
    """Plates: dense oblique bands near the diaphragm, with loss of volume."""
    chest, canvas = scene.chest, scene.canvas
    base = chest.domes[side] - 0.02
    if finding.zone == "mid":
        top, bottom = chest.zone(side, "mid")
        base = 0.5 * (top + bottom) + 0.04
    sign = SIDES[side]
    lines = []
    inner = 0.12 if side == "right" else 0.17
    for number in range(2 + int(2.5 * finding.amount)):
        y = base - 0.034 * number + float(rng.uniform(-0.006, 0.006))
        start = inner + float(rng.uniform(-0.01, 0.04))
        length = float(rng.uniform(0.10, 0.17))
        end = min(start + length, float(chest.wall(y)) - 0.02)
        tilt = float(rng.uniform(-0.035, 0.02))
        knots = [
            (0.5 + sign * start, y),
            (0.5 + sign * 0.5 * (start + end), y + 0.5 * tilt + 0.004),
            (0.5 + sign * end, y + tilt),
        ]
        lines.append(spline(knots, steps=5))
    width = 0.011 + 0.006 * finding.amount
    band = canvas.lines(lines, width)
    soft = smooth(band, 0.0035 * canvas.scale) * scene.lungs[side]
    haze = smooth(band, 0.014 * canvas.scale) * scene.lungs[side]
    strength = _strength(finding)
    _replace_air(scene, np.minimum(0.65 * soft + 0.25 * haze, 0.9) * strength)
    grown = canvas.strokes(lines, width + 0.012) > 40
    return np.asarray(grown & (scene.lungs[side] > 0.3))


def edema(scene: Scene, finding: Finding, side: str, rng: Rng) -> Mask:
    """Haze around the hilum, thick vessels, lines at the periphery."""
    chest, canvas = scene.chest, scene.canvas
    x, y = (float(v) for v in chest.hila[side])
    sign = SIDES[side]
    amount, strength = finding.amount, _strength(finding)
    reach = 0.12 + 0.09 * amount
    dx = (canvas.x - x - 0.05 * sign) / reach
    dy = (canvas.y - y - 0.06) / (1.45 * reach)
    wing = np.exp(-(dx**2) - dy**2) * scene.lungs[side]
    cloud = 1 + 0.25 * canvas.noise("patch", rng, 0.7)
    density = np.clip(wing * cloud * (0.16 + 0.42 * amount), 0, 0.85) * strength
    scene.vessels = scene.vessels * (1 + (0.35 + 0.6 * amount) * wing * strength)
    _replace_air(scene, np.asarray(density, np.float32))
    lines = []
    bottom = chest.tips[side] - 0.05
    for number in range(int(6 + 6 * amount)):
        at = bottom - 0.022 * number
        wall = float(chest.wall(at)) - 0.004
        lines.append(
            chest.place(
                side, [(wall, at), (wall - float(rng.uniform(0.025, 0.05)), at)]
            )
        )
    kerley = canvas.lines(lines, 0.0045)
    scene.extra += (0.05 + 0.06 * amount) * strength * kerley * scene.lungs[side]
    return np.asarray(wing > 0.35)


def lesion(scene: Scene, finding: Finding, side: str, rng: Rng) -> Mask:
    """A round nodule, or a mass from 3 cm on."""
    radius = finding.radius
    centre = spot(scene, finding, side, rng, radius + 0.012)
    shape = (radius, radius * float(rng.uniform(0.88, 1.12)))
    ragged = 0.05 if finding.kind == "mass" else 0.0
    ball = _blob(scene, centre, shape, rng, ragged, 0.10) * scene.lungs[side]
    scene.extra += (0.36 + 0.08 * finding.amount) * _strength(finding) * ball
    _replace_air(scene, 0.5 * ball * _strength(finding))
    return np.asarray(ball > 0.5)


def thickening(scene: Scene, finding: Finding, side: str, rng: Rng) -> Mask:
    """A rind along the wall or a cap over the apex; plaques are calcified."""
    chest, canvas = scene.chest, scene.canvas
    u = np.abs(canvas.x - 0.5)
    depth = 0.018 + 0.022 * finding.amount
    wave = 0.14 * canvas.noise("patch", rng, 0.8)
    if finding.zone == "apical":
        cap = chest.build.apex + 0.022 + 1.3 * depth * (1 + wave)
        rind = sigmoid((cap - canvas.y) / 0.004)
    else:
        top, bottom = chest.zone(side, "mid")
        top, bottom = top - 0.03, bottom + 0.05
        ends = sigmoid((canvas.y - top) / 0.012) * sigmoid((bottom - canvas.y) / 0.012)
        rind = sigmoid((u - chest.wall(canvas.y) + depth * (1 + wave)) / 0.004) * ends
    rind = rind * scene.lungs[side]
    strength = _strength(finding)
    _replace_air(scene, 0.85 * rind * strength)
    scene.extra += 0.10 * rind * strength
    if finding.kind == "calcified pleural plaque":
        scene.extra += 0.30 * rind * strength * (wave > -0.06)
    return np.asarray(rind > 0.5)


def rib_sites(
    scene: Scene, finding: Finding, side: str, rng: Rng
) -> list[tuple[Field, Field]]:
    """Where bone breaks: (point, unit vector along the bone)."""
    chest = scene.chest
    if finding.kind == "clavicle fracture":
        axis = chest.clavicle(side)
        at = int(len(axis) * rng.uniform(0.42, 0.6))
        courses = [axis]
        places = [at]
    else:
        back, _ = chest.ribs(side)
        first = int(rng.integers(3, 6))
        courses = back[first : first + 2 + int(2.4 * finding.amount)]
        share = float(rng.uniform(0.62, 0.84))
        places = [int(len(c) * (share + rng.uniform(-0.03, 0.03))) for c in courses]
    sites = []
    for course, at in zip(courses, places, strict=True):
        along = course[min(at + 2, len(course) - 1)] - course[at - 2]
        sites.append((course[at], along / np.linalg.norm(along)))
    return sites


def fracture(scene: Scene, finding: Finding, side: str, rng: Rng) -> Mask:
    """A gap, two fragments out of line, callus around them."""
    canvas = scene.canvas
    sites = rib_sites(scene, finding, side, rng)
    points = np.stack([point for point, _ in sites])
    strength = _strength(finding)
    gap = smooth(canvas.discs(points, 0.017), 0.003 * canvas.scale)
    scene.ribs = scene.ribs * (1 - 0.95 * gap)
    stumps = []
    for point, along in sites:
        across = np.array([-along[1], along[0]]) * 0.010
        stumps.append([point - 0.026 * along + across, point + 0.006 * along + across])
        stumps.append([point - 0.006 * along - across, point + 0.026 * along - across])
    bone = canvas.lines(stumps, 0.013)
    callus = smooth(canvas.discs(points, 0.013), 0.006 * canvas.scale)
    scene.extra += strength * (
        0.20 * smooth(bone, 0.002 * canvas.scale) + 0.20 * callus
    )
    return np.asarray(canvas.discs(points, 0.032) > 0.5)


def heart(scene: Scene, finding: Finding, side: str, rng: Rng) -> Mask:
    """The silhouette is drawn large already; its outline is the mask."""
    return np.asarray(scene.heart > 0.5)


def widening(scene: Scene, finding: Finding, side: str, rng: Rng) -> Mask:
    """The mediastinum is drawn wide already; its part above the heart is the mask."""
    canvas = scene.canvas
    middle = canvas.polygon(scene.chest.mediastinum)
    return np.asarray((middle > 0.5) & (canvas.y > 0.12) & (canvas.y < 0.36))


PAINTERS: dict[str, Painter] = {
    "Cardiomegaly": heart,
    "Enlarged Cardiomediastinum": widening,
    "Edema": edema,
    "Lung Opacity": opacity,
    "Pneumonia": pneumonia,
    "Consolidation": consolidation,
    "Atelectasis": atelectasis,
    "Lung Lesion": lesion,
    "Pleural Other": thickening,
    "Pneumothorax": pneumothorax,
    "Pleural Effusion": effusion,
    "Fracture": fracture,
}
"""Label to painter, in the order in which they are drawn: fluid comes after the lung
that it hides. Support devices are drawn by `devices`."""


def paint(scene: Scene, finding: Finding, side: str) -> Mask:
    """Draw a finding on one side (or "" where it has none) and return its mask."""
    rng = np.random.default_rng((finding.seed, len(side)))
    return PAINTERS[finding.label](scene, finding, side, rng)
