"""A frontal picture of a study: facts and exposure to pixels, boxes and masks."""

from __future__ import annotations

import numpy as np

from vlp_zoo.data.phantom.canvas import Canvas, Mask
from vlp_zoo.data.phantom.chest.acquisition import Exposure, expose
from vlp_zoo.data.phantom.chest.anatomy import Build, Chest, Shape, region_outlines
from vlp_zoo.data.phantom.chest.devices import paint_device
from vlp_zoo.data.phantom.chest.facts import Finding, StudyFacts
from vlp_zoo.data.phantom.chest.findings import PAINTERS, lift_of, paint
from vlp_zoo.data.phantom.chest.radiograph import attenuation, normal_scene
from vlp_zoo.data.phantom.plate import Plate
from vlp_zoo.data.phantom.world import Drawing

__all__ = ["draw_frontal", "note", "regions_of", "shape_of"]

DRAW_ORDER = (*PAINTERS, "Support Devices")


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


REGIONS_OF = {
    "Cardiomegaly": ("cardiac silhouette",),
    "Enlarged Cardiomediastinum": ("upper mediastinum", "mediastinum"),
    "Edema": ("{side} hilar structures", "{side} lung"),
    "Pleural Effusion": ("{side} costophrenic angle", "{side} lung"),
    "Fracture": ("{side} lung",),
    "clavicle fracture": ("{side} clavicle",),
    "endotracheal tube": ("trachea",),
    "enteric tube": ("mediastinum", "abdomen"),
    "central venous catheter": ("svc",),
    "pacemaker": ("cardiac silhouette", "{side} upper lung zone"),
    "port": ("svc", "{side} upper lung zone"),
    "chest tube": ("{side} lung",),
    "sternotomy wires": ("mediastinum",),
    "": ("{side} {zone}", "{side} lung"),
}
"""Where a reader would place a kind, or else a label, or else any finding."""


def regions_of(finding: Finding, side: str) -> tuple[str, ...]:
    """The anatomical locations in which a reader would place a finding."""
    zone = "apical zone" if finding.zone == "apical" else f"{finding.zone} lung zone"
    keys = (finding.kind, finding.label, "")
    found = REGIONS_OF[next(key for key in keys if key in REGIONS_OF)]
    return tuple(name.format(side=side, zone=zone) for name in found)


def note(plate: Plate, finding: Finding, mask: Mask, side: str, frontal: bool) -> None:
    """Note a finding that was drawn on a side, in a frontal view with its regions."""
    plate.add(
        finding.label.lower(),
        mask,
        finding=finding.label,
        kind=finding.kind,
        side=side,
        zone=finding.zone,
        severity=finding.severity,
        certain=finding.certain,
        regions=regions_of(finding, side) if frontal else (),
    )


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
    plate = Plate(canvas, region_outlines(chest), {})
    for finding in sorted(facts.findings, key=lambda f: DRAW_ORDER.index(f.label)):
        if finding.label == "Support Devices":
            note(plate, finding, paint_device(scene, finding), finding.side, True)
            continue
        for side in finding.sides or ("",):
            note(plate, finding, paint(scene, finding, side), side, True)
    return plate.drawing(expose(attenuation(scene), canvas, exposure))
