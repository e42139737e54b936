"""A contact sheet of the fundus world: one picture for each label, with its words."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vlp_zoo.data.phantom.chest.sheet import FRAME, OUTLINE, compose_sheet
from vlp_zoo.data.phantom.folder import write_atomically
from vlp_zoo.data.phantom.fundus.facts import LABELS, label_states
from vlp_zoo.data.phantom.fundus.source import PhantomFundusSource
from vlp_zoo.types import Study

__all__ = ["pick_examples", "write_contact_sheet"]

SEARCH = 1500
"""Pictures that are looked through for examples."""


def pick_examples(source: PhantomFundusSource) -> list[tuple[str, int]]:
    """For each label the image that shows it with the least beside it.

    Args:
        source: Looked through without drawing.

    Returns:
        (label, index of the image); a label that no image has is left out.
    """
    best: dict[str, tuple[float, int]] = {}
    taken: set[int] = set()
    known = []
    for index in range(min(SEARCH, len(source))):
        facts = source.eye_facts(index)
        report = source.written(index).report
        # Blurred pictures and reports without an impression make poor examples.
        poor = {"good": 0.0, "fair": 1.0, "poor": 4.0}[source.camera(index).quality]
        poor += not (report.findings and report.impression)
        known.append((facts, label_states(facts), poor))
    for label in reversed(LABELS):
        for index, (facts, states, poor) in enumerate(known):
            if states[label] != 1 or index in taken:
                continue
            own = [lesion for lesion in facts.lesions if lesion.label == label]
            extent = max((lesion.amount for lesion in own), default=0.0)
            burden = sum(1 for state in states.values() if state) - 2.0 * extent + poor
            if label not in best or burden < best[label][0]:
                best[label] = (burden, index)
        if label in best:
            taken.add(best[label][1])
    return [(label, best[label][1]) for label in LABELS if label in best]


def _tile(study: Study, label: str, side: int) -> npt.NDArray[np.uint8]:
    """The picture with frames around the lesions; disc and cup outlined in glaucoma."""
    tile = cv2.resize(study.image, (side, side), interpolation=cv2.INTER_AREA)
    scale = side / study.image.shape[0]
    for box in study.boxes:
        if box.kind == "lesion" and box.name == label:
            x1, y1, x2, y2 = (int(v * scale) for v in box.xyxy)
            cv2.rectangle(tile, (x1 - 2, y1 - 2), (x2 + 1, y2 + 1), FRAME, 1)
    if label == "glaucoma":
        for name in ("optic disc", "optic cup"):
            large = cv2.resize(study.masks[name].astype(np.uint8), (side, side))
            contours, _ = cv2.findContours(
                large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
            )
            cv2.drawContours(tile, contours, -1, OUTLINE, 1)
    return np.asarray(tile, np.uint8)


def write_contact_sheet(
    path: Path, source: PhantomFundusSource, side: int = 200
) -> list[str]:
    """Draw one example of each label with frames and the report's impression.

    Args:
        path: ``.png`` to write.
        source: Where the examples come from.
        side: Pixels of one picture on the sheet.

    Returns:
        The labels on the sheet, in order.
    """
    examples = pick_examples(source)
    tiles = []
    for label, index in examples:
        study = source[index]
        words = study.report.impression or study.report.findings
        tiles.append((label.capitalize(), words, _tile(study, label, side)))
    packed = io.BytesIO()
    sheet = compose_sheet(tiles, side)
    # Without dithering the smooth shades of a fundus fall into steps.
    reduced = sheet.quantize(palette=sheet.quantize(256))
    reduced.save(packed, "PNG", optimize=True)
    write_atomically(path, packed.getvalue())
    return [label for label, _ in examples]
