"""One photograph of one eye, with the boxes and masks of what it shows."""

from __future__ import annotations

from vlp_zoo.data.phantom.canvas import Canvas
from vlp_zoo.data.phantom.fundus.anatomy import EyeBuild, region_outlines
from vlp_zoo.data.phantom.fundus.camera import Camera, photograph
from vlp_zoo.data.phantom.fundus.facts import EyeFacts
from vlp_zoo.data.phantom.fundus.lesions import paint
from vlp_zoo.data.phantom.fundus.retina import finish, retina_scene
from vlp_zoo.data.phantom.plate import Plate
from vlp_zoo.data.phantom.world import Drawing

__all__ = ["draw_photograph"]


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
    plate = Plate(canvas, region_outlines(build), scene.structures)
    for lesion in facts.lesions:
        for place in lesion.places:
            mask = paint(scene, lesion, place)
            known = {"finding": lesion.label, "kind": lesion.kind, "place": place}
            plate.add(lesion.label, mask, **known)
    return plate.drawing(photograph(finish(scene), canvas, camera))
