"""What a picture shows is noted where it is, and only if any of it is there."""

from __future__ import annotations

import numpy as np

from vlp_zoo.data.phantom.canvas import Canvas
from vlp_zoo.data.phantom.plate import Plate


def test_masks_of_a_name_are_united_and_each_lesion_has_its_box() -> None:
    canvas = Canvas(10, [[1, 0, 0], [0, 1, 0]])
    corners = np.array([[0.2, 0.3], [0.6, 1.4]], np.float32)
    disc = np.zeros((10, 10), np.bool_)
    plate = Plate(canvas, {"lung": corners}, {"disc": disc})
    one, other = disc.copy(), disc.copy()
    one[2:4, 5:9] = True
    other[7, 0] = True
    plate.add("nodule", one, kind="a")
    plate.add("nodule", disc, kind="out of the picture")
    plate.add("nodule", other, kind="b")
    drawing = plate.drawing(np.zeros((10, 10), np.uint8))
    region, *lesions = drawing.boxes
    np.testing.assert_allclose(region.xyxy, (2, 3, 6, 10), atol=1e-5)
    assert [box.xyxy for box in lesions] == [(5, 2, 9, 4), (0, 7, 1, 8)]
    assert [box.kind for box in drawing.boxes] == ["region", "lesion", "lesion"]
    assert [known["kind"] for known in drawing.lesions] == ["a", "b"]
    assert [known["box"] for known in drawing.lesions] == [b.xyxy for b in lesions]
    assert (drawing.masks["nodule"] == (one | other)).all()
    assert not drawing.masks["disc"].any()
