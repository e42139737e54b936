"""One photograph of one eye, with the boxes and masks of what it shows."""

from __future__ import annotations

import numpy as np

from vlp_zoo.data.phantom.canvas import Canvas, Mask
from vlp_zoo.data.phantom.fundus.anatomy import EyeBuild, region_outlines
from vlp_zoo.data.phantom.fundus.camera import Camera, photograph
from vlp_zoo.data.phantom.fundus.facts import EyeFacts
from vlp_zoo.data.phantom.fundus.lesions import paint
from vlp_zoo.data.phantom.fundus.retina import finish, retina_scene
from vlp_zoo.data.phantom.world import Drawing
from vlp_zoo.types import Box

__all__ = ["draw_photograph"]

XYXY = tuple[float, float, float, float]


def _bounds(mask: Mask) -> XYXY:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (
        float(columns[0]),
        float(rows[0]),
        float(columns[-1] + 1),
        float(rows[-1] + 1),
    )


def _region_boxes(canvas: Canvas, build: EyeBuild) -> list[Box]:
    boxes = []
    for name, outline in region_outlines(build).items():
        points = np.clip(canvas.pixels(outline), 0, canvas.size)
        (x1, y1), (x2, y2) = points.min(0), points.max(0)
        boxes.append(Box(name, (float(x1), float(y1), float(x2), float(y2))))
    return boxes


def draw_photograph(
    facts: EyeFacts, build: EyeBuild, camera: Camera, size: int
) -> Drawing:
    """Draw an eye.

    Args:
        facts: What it has.
        build: What it looks like.
        camera: How it is photographed.
        size: Side of the picture in pixels.
    """
    canvas = Canvas(size, camera.affine(facts.eye))
    scene = retina_scene(canvas, build, facts)
    masks = dict(scene.structures)
    boxes = _region_boxes(canvas, build)
    lesions = []
    for lesion in facts.lesions:
        for place in lesion.places:
            mask = paint(scene, lesion, place)
            seen = masks.get(lesion.label)
            masks[lesion.label] = mask if seen is None else seen | mask
            box = _bounds(mask)
            boxes.append(Box(lesion.label, box, "lesion"))
            lesions.append(
                {
                    "finding": lesion.label,
                    "kind": lesion.kind,
                    "place": place,
                    "box": box,
                }
            )
    image = photograph(finish(scene), canvas, camera)
    return Drawing(image, tuple(boxes), masks, tuple(lesions))
