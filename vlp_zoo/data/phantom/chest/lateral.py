"""A lateral picture of a study: plain, but with every finding where it belongs.

The patient faces left. Body coordinates: x from the sternum (small) to the back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlp_zoo.data.phantom.canvas import Canvas, Field, Mask, sigmoid, smooth, spline
from vlp_zoo.data.phantom.chest.acquisition import Exposure, expose
from vlp_zoo.data.phantom.chest.anatomy import Build
from vlp_zoo.data.phantom.chest.facts import Finding, StudyFacts
from vlp_zoo.data.phantom.chest.findings import FAINT
from vlp_zoo.data.phantom.chest.frontal import note, shape_of
from vlp_zoo.data.phantom.plate import Plate
from vlp_zoo.data.phantom.world import Drawing

__all__ = ["draw_lateral"]


@dataclass
class _Profile:
    """Layers of a lateral exposure, as in `radiograph.Scene`."""

    canvas: Canvas
    lung: Field
    air: Field
    heart: Field
    tissue: Field
    vessels: Field
    extra: Field
    dome: float


def _glow(canvas: Canvas, x: float, across: float, y: float, down: float) -> Field:
    squared = ((canvas.x - x) / across) ** 2
    return np.asarray(np.exp(-squared - ((canvas.y - y) / down) ** 2), np.float32)


def _normal(canvas: Canvas, build: Build, heart_ratio: float) -> _Profile:
    dome = build.dome - 0.01
    lung_outline = [
        (0.47, 0.13),
        (0.60, 0.16),
        (0.72, 0.24),
        (0.79, 0.40),
        (0.80, 0.60),
        (0.76, dome + 0.10),
        (0.72, dome + 0.12),
        (0.62, dome + 0.03),
        (0.45, dome - 0.01),
        (0.30, dome + 0.005),
        (0.245, dome + 0.03),
        (0.225, 0.55),
        (0.24, 0.40),
        (0.30, 0.26),
        (0.38, 0.17),
    ]
    lung = canvas.polygon(spline(lung_outline, closed=True, steps=6), 0.004)
    grown = (heart_ratio - 0.45) * 0.9
    heart_outline = [
        (0.30, dome + 0.01),
        (0.265, 0.60),
        (0.30 - 0.1 * grown, 0.50 - 0.2 * grown),
        (0.38, 0.42 - 0.25 * grown),
        (0.47, 0.40 - 0.1 * grown),
        (0.53 + 0.35 * grown, 0.47),
        (0.555 + 0.6 * grown, 0.57),
        (0.53 + 0.5 * grown, 0.67),
        (0.49, dome + 0.02),
    ]
    heart = canvas.polygon(spline(heart_outline, closed=True, steps=6), 0.008)
    body_outline = [
        (0.40, -0.2),
        (0.39, 0.04),
        (0.30, 0.13),
        (0.20, 0.28),
        (0.15, 0.48),
        (0.14, 0.7),
        (0.13, 1.2),
        (0.92, 1.2),
        (0.90, 0.75),
        (0.92, 0.5),
        (0.89, 0.27),
        (0.78, 0.12),
        (0.66, 0.04),
        (0.64, -0.2),
    ]
    body = canvas.polygon(spline(body_outline, closed=True, steps=6))
    tissue = 0.35 * body + 0.75 * smooth(body, 0.035 * canvas.scale)
    tissue = tissue + 0.35 * _glow(canvas, 0.62, 0.17, 0.1, 0.11) * body
    abdomen = [(-1, 2), (-1, dome), (2, dome), (2, 2)]
    tissue = tissue + 0.28 * canvas.polygon(abdomen, 0.04)
    # Vertebral bodies follow the thoracic curve; lower ones look darker when healthy.
    axis = 0.76 + 0.05 * np.sin((canvas.y - 0.05) * 3.3)
    away = np.abs(canvas.x - axis)
    phase = canvas.y / 0.056
    disc = np.exp(-(((phase - np.floor(phase) - 0.5) / 0.13) ** 2))
    tissue = tissue + 0.16 * sigmoid((0.034 - away) / 0.005) * (1 - 0.55 * disc) * body
    ribs = [
        [
            (0.80, 0.10 + 0.062 * n),
            (0.70, 0.135 + 0.066 * n),
            (0.50, 0.19 + 0.072 * n),
            (0.33, 0.20 + 0.074 * n),
        ]
        for n in range(9)
    ]
    bone = canvas.lines([spline(rib) for rib in ribs], 0.02)
    sternum = spline([(0.315, 0.22), (0.245, 0.36), (0.215, 0.52)])
    bone = bone * 0.5 + canvas.lines([sternum], 0.02)
    tissue = tissue + 0.10 * smooth(bone, 0.003 * canvas.scale)
    trachea = spline([(0.52, -0.02), (0.53, 0.2), (0.545, 0.37)])
    tube = canvas.lines([trachea], 0.03)
    tissue = tissue - 0.16 * smooth(tube, 0.004 * canvas.scale)
    arch = spline([(0.44, 0.36), (0.48, 0.27), (0.56, 0.25), (0.63, 0.33), (0.66, 0.6)])
    aorta = canvas.lines([arch], 0.055)
    tissue = tissue + 0.06 * smooth(aorta, 0.008 * canvas.scale)
    rng = np.random.default_rng((build.seed, 17))
    branches = []
    for _ in range(60):
        angle = rng.uniform(0, 2 * np.pi)
        reach = rng.uniform(0.08, 0.26)
        end = (0.53 + reach * np.cos(angle), 0.41 + 1.2 * reach * np.sin(angle))
        bow = (
            0.53 + 0.5 * reach * np.cos(angle + 0.15),
            0.41 + 0.6 * reach * np.sin(angle + 0.15),
        )
        branches.append(spline([(0.53, 0.41), bow, end]))
    vessels = smooth(canvas.lines(branches, 0.0035), 0.003 * canvas.scale)
    hilum = _glow(canvas, 0.53, 0.04, 0.41, 0.06)
    air = lung * (0.75 + 0.25 * smooth(lung, 0.05 * canvas.scale)) * (1 - 0.8 * heart)
    return _Profile(
        canvas,
        lung,
        np.asarray(air, np.float32),
        heart,
        np.asarray(tissue + 0.10 * hilum + 0.12 * heart * lung, np.float32),
        vessels,
        np.zeros_like(lung),
        dome,
    )


def _depth(profile: _Profile, finding: Finding) -> tuple[float, float]:
    """Middle of a finding: its zone gives the height, its seed the depth."""
    rng = np.random.default_rng((finding.seed, 5))
    y = {"upper": 0.27, "apical": 0.19, "mid": 0.45}.get(finding.zone, 0.64)
    x = rng.uniform(0.34, 0.70) if finding.zone != "lower" else rng.uniform(0.55, 0.72)
    return float(x), y + float(rng.uniform(-0.04, 0.04))


def _round(profile: _Profile, centre: tuple[float, float], radius: float) -> Field:
    x, y = profile.canvas.x - centre[0], profile.canvas.y - centre[1]
    return sigmoid((1 - np.sqrt(x**2 + y**2) / radius) / 0.15) * profile.lung


def _paint(profile: _Profile, finding: Finding) -> Mask:
    canvas, amount = profile.canvas, finding.amount
    strength = 1.0 if finding.certain else FAINT
    match finding.label:
        case "Cardiomegaly":
            return np.asarray(profile.heart > 0.5)
        case "Pleural Effusion":
            level = profile.dome + 0.10 - (0.05 + 0.3 * amount)
            surface = level - 0.05 * np.clip((canvas.x - 0.5) / 0.25, -1, 1)
            fluid = sigmoid((canvas.y - surface) / 0.008) * profile.lung
            fluid = fluid * sigmoid((canvas.x - 0.42) / 0.02)
            profile.air = profile.air * (1 - 0.9 * fluid * strength)
            return np.asarray(fluid > 0.5)
        case "Consolidation" | "Pneumonia" | "Lung Opacity":
            blob = _round(profile, _depth(profile, finding), 0.08 + 0.05 * amount)
            weight = {"Consolidation": 0.8, "Pneumonia": 0.6}.get(finding.label, 0.4)
            cloud = weight * strength * blob
            if finding.label == "Pneumonia":
                rng = np.random.default_rng((finding.seed, 6))
                cloud = cloud * (1 + 0.5 * canvas.noise("patch", rng, 0.5))
            profile.air = profile.air * (1 - np.clip(cloud, 0, 0.9))
            return np.asarray(blob > 0.5)
        case "Lung Lesion":
            radius = finding.radius if finding.kind == "nodule" else 0.055
            ball = _round(profile, _depth(profile, finding), radius)
            profile.extra += 0.30 * strength * ball
            return np.asarray(ball > 0.5)
        case "Edema":
            haze = _glow(canvas, 0.54, 0.17, 0.44, 0.2) * profile.lung
            density = (0.25 + 0.4 * amount) * strength
            profile.air = np.asarray(profile.air * (1 - density * haze), np.float32)
            profile.vessels = profile.vessels * (1 + amount)
            return np.asarray(haze > 0.35)
        case "Atelectasis":
            y = profile.dome - 0.03
            line = spline([(0.5, y), (0.6, y + 0.01), (0.72, y + 0.04)])
            band = canvas.lines([line], 0.014)
            band = smooth(band, 0.003 * canvas.scale) * profile.lung
            profile.air = profile.air * (1 - 0.75 * band * strength)
            return np.asarray(band > 0.4)
        case "Support Devices":
            paths = {
                "endotracheal tube": [(0.525, -0.03), (0.53, 0.15), (0.54, 0.29)],
                "enteric tube": [(0.57, -0.03), (0.58, 0.3), (0.58, 0.6), (0.5, 0.8)],
                "pacemaker": [(0.33, 0.2), (0.42, 0.3), (0.45, 0.5), (0.33, 0.66)],
                "chest tube": [(0.6, 0.7), (0.62, 0.5), (0.52, 0.3)],
            }.get(finding.kind, [(0.36, 0.2), (0.43, 0.25), (0.45, 0.42)])
            course = canvas.lines([spline(paths)], 0.006)
            profile.extra += 0.3 * course
            return np.asarray(course > 0.3)
    # A rib fracture, a rind or a thin rim of air is not seen from the side.
    return np.zeros(profile.lung.shape, np.bool_)


def draw_lateral(
    facts: StudyFacts, build: Build, exposure: Exposure, size: int
) -> Drawing:
    """Draw a lateral view; arguments as for `frontal.draw_frontal`."""
    canvas = Canvas(size, exposure.affine())
    shape = shape_of(build, facts.findings)
    profile = _normal(canvas, build, shape.heart)
    texture = np.random.default_rng((exposure.seed, 1))
    profile.tissue = profile.tissue * (1 + 0.022 * canvas.noise("cloud", texture, 1.3))
    plate = Plate(canvas, {}, {})
    for finding in facts.findings:
        note(plate, finding, _paint(profile, finding), finding.side, False)
    total = profile.tissue - 0.62 * profile.air + 0.14 * profile.vessels * profile.air
    total = np.maximum(total + profile.extra, 0.0).astype(np.float32)
    return plate.drawing(expose(total, canvas, exposure))
