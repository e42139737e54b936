"""A contact sheet of the fundus world: one picture for each label, with its words."""

from __future__ import annotations

from PIL import Image

from vlp_zoo.data.phantom.canvas import Picture
from vlp_zoo.data.phantom.contact_sheet import ContactSheet, frame, outline
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


def _mark(tile: Picture, study: Study, label: str) -> None:
    """Frame the lesions; outline disc and cup in glaucoma."""
    frame(tile, study, label, 2)
    if label == "glaucoma":
        outline(tile, study.masks["optic disc"])
        outline(tile, study.masks["optic cup"])


def _reduced(sheet: Image.Image) -> Image.Image:
    # Without dithering the smooth shades of a fundus fall into steps.
    return sheet.quantize(palette=sheet.quantize(256))


write_contact_sheet = ContactSheet(pick_examples, _mark, _reduced)
"""Draws one example of each label, with marks and the report's impression."""
