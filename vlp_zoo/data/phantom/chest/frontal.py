"""A frontal picture of a study: facts and exposure to pixels, boxes and masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlp_zoo.data.phantom.canvas import Canvas, Mask
from vlp_zoo.data.phantom.chest.acquisition import Exposure, expose
from vlp_zoo.data.phantom.chest.anatomy import Build, Chest, Shape, region_outlines
from vlp_zoo.data.phantom.chest.devices import paint_device
from vlp_zoo.data.phantom.chest.facts import Finding, StudyFacts
from vlp_zoo.data.phantom.chest.findings import lift_of, paint
from vlp_zoo.data.phantom.chest.radiograph import attenuation, normal_scene
from vlp_zoo.data.phantom.world import Drawing
from vlp_zoo.types import Box

__all__ = ["draw_frontal", "lesion_box", "regions_of", "shape_of"]

DRAW_ORDER = (
    "Cardiomegaly",
    "Enlarged Cardiomediastinum",
    "Edema",
    "Lung Opacity",
    "Pneumonia",
    "Consolidation",
    "Atelectasis",
    "Lung Lesion",
    "Pleural Other",
    "Pneumothorax",
    "Pleural Effusion",
    "Fracture",
    "Support Devices",
)
"""What covers what: fluid comes after the lung that it hides."""


def shape_of(build: Build, findings: tuple[Finding, ...]) -> Shape:
    """The geometry of a chest with these findings."""
    heart = min(build.heart, 0.49)
    mediastinum = 1.0
    for finding in findings:
        if finding.label == "Cardiomegaly":
            heart = 0.535 + 0.135 * finding.amount
            if not finding.certain:
                heart = 0.512
        elif finding.label == "Enlarged Cardiomediastinum":
            mediastinum = 1.42 + 0.45 * finding.amount
            if not finding.certain:
                mediastinum = 1.22
    return Shape(heart, mediastinum, lift_of(findings))


def regions_of(finding: Finding, side: str) -> tuple[str, ...]:
    """The anatomical locations in which a reader would place a finding."""
    zone = "apical zone" if finding.zone == "apical" else f"{finding.zone} lung zone"
    match finding.label:
        case "Cardiomegaly":
            return ("cardiac silhouette",)
        case "Enlarged Cardiomediastinum":
            return ("upper mediastinum", "mediastinum")
        case "Edema":
            return (f"{side} hilar structures", f"{side} lung")
        case "Pleural Effusion":
            return (f"{side} costophrenic angle", f"{side} lung")
        case "Fracture":
            if finding.kind == "clavicle fracture":
                return (f"{side} clavicle",)
            return (f"{side} lung",)
        case "Support Devices":
            return {
                "endotracheal tube": ("trachea",),
                "enteric tube": ("mediastinum", "abdomen"),
                "central venous catheter": ("svc",),
                "pacemaker": ("cardiac silhouette", f"{side} upper lung zone"),
                "port": ("svc", f"{side} upper lung zone"),
                "chest tube": (f"{side} lung",),
                "sternotomy wires": ("mediastinum",),
            }[finding.kind]
    return (f"{side} {zone}", f"{side} lung")


def lesion_box(mask: Mask) -> tuple[float, float, float, float]:
    """Bounds of a mask that is not empty, pixel edges at integers."""
    rows = np.flatnonzero(mask.any(1))
    columns = np.flatnonzero(mask.any(0))
    return (
        float(columns[0]),
        float(rows[0]),
        float(columns[-1] + 1),
        float(rows[-1] + 1),
    )


def _region_boxes(canvas: Canvas, chest: Chest) -> list[Box]:
    places = region_outlines(chest)
    outlines = list(places.values())
    points = np.clip(canvas.pixels(np.concatenate(outlines)), 0, canvas.size)
    starts = np.cumsum([0] + [len(outline) for outline in outlines[:-1]])
    low, high = (f.reduceat(points, starts).tolist() for f in (np.minimum, np.maximum))
    return [
        Box(name, (x1, y1, x2, y2))
        for name, (x1, y1), (x2, y2) in zip(places, low, high, strict=True)
    ]


def draw_frontal(
    facts: StudyFacts, build: Build, exposure: Exposure, size: int
) -> Drawing:
    """Draw a PA or AP view.

    Args:
        facts: What the study shows.
        build: The patient's body.
        exposure: How it was taken.
        size: Side of the square image in pixels.
    """
    canvas = Canvas(size, exposure.affine())
    chest = Chest(build, shape_of(build, facts.findings))
    texture = np.random.default_rng((exposure.seed, 1))
    scene = normal_scene(canvas, chest, exposure.scapulae, texture)
    boxes = _region_boxes(canvas, chest)
    masks: dict[str, Mask] = {}
    lesions: list[dict[str, Any]] = []
    ordered = sorted(facts.findings, key=lambda f: DRAW_ORDER.index(f.label))
    for finding in ordered:
        device = finding.label == "Support Devices"
        for side in ("",) if device else finding.sides or ("",):
            if device:
                mask = paint_device(scene, finding)
            else:
                mask = paint(scene, finding, side)
            if not mask.any():
                continue
            name = finding.label.lower()
            box = lesion_box(mask)
            masks[name] = masks[name] | mask if name in masks else mask
            boxes.append(Box(name, box, "lesion"))
            lesions.append(
                {
                    "finding": finding.label,
                    "kind": finding.kind,
                    "side": side or finding.side,
                    "zone": finding.zone,
                    "severity": finding.severity,
                    "certain": finding.certain,
                    "box": box,
                    "regions": regions_of(finding, side or finding.side),
                }
            )
    image = expose(attenuation(scene), canvas, exposure)
    return Drawing(image, tuple(boxes), masks, tuple(lesions))
